"""The end of a gateway pod, before SIGTERM: no new clients, all in flight answered. Asks Envoy, not the agent.

What a Pod's preStop hook runs. It never takes longer than its limit, whatever Envoy does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import aiohttp

from insource.env import Clock, system_env
from insource.gateway.envoy_admin import EnvoyAdmin
from insource.gateway.paths import GatewayPaths

T = TypeVar("T")
POLL_S = 0.2
QUIET = 2
"""So often in a row nothing must be in flight: a request between two counts is in neither."""
_HANGS = (aiohttp.ClientError, OSError, TimeoutError)


class _GoneError(Exception):
    """There is no Envoy."""


async def drain_envoy(run_dir: Path, *, settle_s: float, limit_s: float) -> str:
    """`drain`, for the Envoy whose sockets are in `run_dir`."""
    admin = EnvoyAdmin(GatewayPaths(run_dir, run_dir).admin_socket)
    try:
        return await drain(admin, system_env().clock, settle_s=settle_s, limit_s=limit_s)
    finally:
        await admin.close()


async def drain(admin: EnvoyAdmin, clock: Clock, *, settle_s: float, limit_s: float) -> str:
    """Drain one Envoy within `limit_s` seconds; "" if nothing is in flight any more, else what is the matter.

    For the first `settle_s` seconds new connections are still served, for whoever has not yet heard that this pod is
    not ready; after that they are refused. An Envoy that has gone has nothing in flight.
    """
    stage = "Envoy does not answer"
    try:
        async with asyncio.timeout(limit_s):
            await _insist(admin.fail_health_check, clock)
            stage = "new requests could still come: the limit must be above the settle time"
            await clock.sleep(settle_s)
            await _insist(admin.refuse_clients, clock)
            stage = "requests are still in flight"
            await _until_quiet(admin, clock)
    except TimeoutError:
        return f"not drained within {limit_s:g} s: {stage}"
    except _GoneError:
        return ""
    return ""


async def _until_quiet(admin: EnvoyAdmin, clock: Clock) -> None:
    quiet = 0
    while quiet < QUIET:
        quiet = quiet + 1 if await _insist(admin.active, clock) == 0 else 0
        if quiet < QUIET:
            await clock.sleep(POLL_S)


async def _insist(ask: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """Ask until there is an answer."""
    while True:
        try:
            return await ask()
        except aiohttp.ClientConnectorError as error:
            raise _GoneError from error
        except _HANGS:
            await clock.sleep(POLL_S)
