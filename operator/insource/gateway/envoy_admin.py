"""Envoy's admin interface on its unix socket: statistics, log rotation, draining."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from insource.gateway.render.bootstrap import ACTIVE
from insource.gateway.render.names import CLUSTER_PREFIX

TIMEOUT_S = 5.0
_HEAD = f"cluster.{CLUSTER_PREFIX}"
_TAIL = f".{ACTIVE}"


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

    async def drain_listeners(self) -> None:
        """Ask clients to go elsewhere with each answer; nothing in flight is cut."""
        await self._post("/drain_listeners?graceful")

    async def _post(self, path: str) -> None:
        async with self._session.post(path) as answer:
            answer.raise_for_status()
