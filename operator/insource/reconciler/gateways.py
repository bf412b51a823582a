"""Which gateways there are: some are named at the start, others are found by the name of a headless Service.

Such a name has the address of every ready pod, so a gateway that takes no requests is not waited for.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import structlog

from insource.env import Clock

_log = structlog.get_logger(__name__)
_LOOK_UP_EVERY_S = 2.0
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Addresses of a name and port, each once. Raises OSError."""


class Gateways:
    """The admin URLs of the gateways' agents, as they are now."""

    def __init__(
        self, urls: tuple[str, ...], service: tuple[str, int] | None, clock: Clock, resolve: Resolve | None = None
    ) -> None:
        self._fixed = urls
        self._service = service
        self._clock = clock
        self._resolve = resolve or resolve_name
        self._found: tuple[str, ...] = ()
        self._due = 0.0

    @property
    def urls(self) -> tuple[str, ...]:
        """Of those who can be asked."""
        return (*self._fixed, *self._found)

    @property
    def awaited(self) -> tuple[str, ...]:
        """Those without whom no traffic counts as applied: while a Service has no address yet, one that is to come."""
        to_come = (_url(*self._service),) if self._service and not self._found else ()
        return (*self.urls, *to_come)

    async def look(self) -> None:
        """Look the name up again, unless that was a moment ago. No answer is no news: who was there stays."""
        now = self._clock.monotonic()
        if self._service is None or now < self._due:
            return
        self._due = now + _LOOK_UP_EVERY_S
        host, port = self._service
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            _log.debug("gateways_not_found", service=host, error=str(error))
            return
        if addresses:
            self._found = tuple(_url(address, port) for address in sorted(addresses))


async def resolve_name(host: str, port: int) -> list[str]:
    """By the system's resolver. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({str(address[0]) for *_, address in found})


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
