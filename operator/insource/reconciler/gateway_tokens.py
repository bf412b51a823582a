"""Which gateway tokens each namespace's adapters must accept now, from the master's file. Never tells the master."""

from __future__ import annotations

from pathlib import Path

import structlog

from insource.domain.identity import gateway_token, token_digest

_log = structlog.get_logger(__name__)


class GatewayTokens:
    """Digests by namespace; the file has one master per line, two (new, old) while it rotates."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._masters: tuple[bytes, ...] = ()
        self.reload()

    def reload(self) -> bool:
        """Read the file again; True if the masters changed. An unreadable or empty file leaves them as they are."""
        if self._path is None:
            return False
        try:
            content = self._path.read_bytes()
        except OSError as error:
            _log.warning("gateway_master_unreadable", path=str(self._path), error=error.strerror)
            return False
        masters = tuple(line.strip() for line in content.splitlines() if line.strip())
        if not masters or masters == self._masters:
            return False
        self._masters = masters
        return True

    def digests(self, namespace: str) -> tuple[str, ...]:
        """SHA-256 of each valid token of the namespace, newest master first."""
        return tuple(token_digest(gateway_token(master, namespace)) for master in self._masters)
