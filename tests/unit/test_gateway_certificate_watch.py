"""The watch over Envoy's certificate: what a scrape shows of it has been told in the log before."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import cast

from structlog.testing import capture_logs

from insource.env import Env, system_env
from insource.gateway.certificate_watch import CertificateWatch
from insource.gateway.envoy_admin import Certificate, EnvoyAdmin


class SlowAdmin:
    """An Envoy that tells its certificates at once, and how many it refused when it may."""

    def __init__(self, env: Env) -> None:
        self.may_answer = asyncio.Event()
        self.asked = asyncio.Event()
        self.certificate = Certificate("0a", env.clock.now() + timedelta(days=3))

    async def certificates(self) -> list[Certificate]:
        return [self.certificate]

    async def certificates_refused(self) -> int:
        self.asked.set()
        await self.may_answer.wait()
        return 1


async def test_what_a_scrape_shows_was_told_before() -> None:
    env = system_env()
    admin = SlowAdmin(env)
    watch = CertificateWatch(cast(EnvoyAdmin, admin), env)
    with capture_logs() as logs:
        looking = asyncio.create_task(watch.look())
        await admin.asked.wait()
        assert (watch.certificate, watch.refused_total, logs) == (None, 0, [])
        admin.may_answer.set()
        await looking
    assert (watch.certificate, watch.refused_total) == (admin.certificate, 1)
    assert [each["event"] for each in logs] == ["certificate_refused", "certificate_expires_soon"]
