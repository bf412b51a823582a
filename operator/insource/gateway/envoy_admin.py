"""Envoy's admin interface on its unix socket: statistics, log rotation, draining."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import aiohttp

from insource.gateway.render.bootstrap import ACTIVE
from insource.gateway.render.names import CLUSTER_PREFIX

TIMEOUT_S = 5.0
_HEAD = f"cluster.{CLUSTER_PREFIX}"
_TAIL = f".{ACTIVE}"


@dataclass(frozen=True)
class Certificate:
    """What Envoy shows to clients."""

    serial: str
    expires: datetime


class EnvoyAdmin:
    """A client of one Envoy's admin. Every call raises aiohttp.ClientError or TimeoutError if Envoy is away."""

    def __init__(self, socket: Path) -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        self._session = aiohttp.ClientSession(
            "http://envoy", connector=aiohttp.UnixConnector(str(socket), force_close=True), timeout=timeout
        )

    async def close(self) -> None:
        """Let go of the connection."""
        await self._session.close()

    async def ready(self) -> bool:
        """True if Envoy is initialised and not draining."""
        async with self._session.get("/ready") as answer:
            return answer.status == 200

    async def gone(self) -> bool:
        """True if there is no Envoy at all: nobody listens. One that hangs is there."""
        try:
            await self.ready()
        except aiohttp.ClientConnectorError:
            return True
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
        return False

    async def active_by_deployment(self) -> dict[str, int]:
        """Requests in flight per deployment, at all priorities and in both listeners, those above 0."""
        # Note: `usedonly` would hide gauges that were never touched only; 0 is left out here anyway.
        async with self._session.get("/stats", params={"filter": r"^cluster\.md/.*\.upstream_rq_active$"}) as answer:
            text = await answer.text()
        active = {}
        for line in text.splitlines():
            name, _, value = line.partition(": ")
            if value != "0" and name.startswith(_HEAD) and name.endswith(_TAIL):
                active[name[len(_HEAD) : -len(_TAIL)]] = int(value)
        return active

    async def active(self) -> int:
        """Requests in flight in both listeners."""
        params = {"filter": r"^http\.(edge|reentry)\.downstream_rq_active$"}
        async with self._session.get("/stats", params=params) as answer:
            text = await answer.text()
        return sum(int(line.rpartition(": ")[2]) for line in text.splitlines())

    async def reopen_logs(self) -> None:
        """Have Envoy write to a new file under the log's name."""
        await self._post("/reopen_logs")

    async def fail_health_check(self) -> None:
        """Not Ready from now on."""
        await self._post("/healthcheck/fail")

    async def refuse_clients(self) -> None:
        """Take no new connections of clients. What is in flight goes on, and re-entry, which it may still need."""
        await self._post("/drain_listeners?inboundonly")

    async def certificates(self) -> list[Certificate]:
        """The certificates that clients are shown; none without TLS."""
        async with self._session.get("/certs") as answer:
            answer.raise_for_status()
            document = await answer.json(content_type=None)
        return [
            Certificate(chain[0]["serial_number"], datetime.fromisoformat(chain[0]["expiration_time"]))
            for chain in (each.get("cert_chain") or () for each in document.get("certificates") or ())
            if chain
        ]

    async def certificates_refused(self) -> int:
        """How often Envoy found a pair of certificate and key that it could not use, and kept the one before."""
        async with self._session.get("/stats", params={"filter": r"\.key_rotation_failed$"}) as answer:
            text = await answer.text()
        return sum(int(line.rpartition(": ")[2]) for line in text.splitlines())

    async def _post(self, path: str) -> None:
        async with self._session.post(path) as answer:
            answer.raise_for_status()
