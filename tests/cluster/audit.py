"""Reading the API server's audit log: who wrote what, and when."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

WRITES = frozenset(("create", "update", "patch", "delete", "deletecollection"))


@dataclass(frozen=True)
class Request:
    """One answered request. `received_s`: seconds since the epoch, to the microsecond."""

    user: str
    verb: str
    resource: str
    """With its subresource: `deployments`, `modeldeployments/status`."""
    namespace: str
    name: str
    code: int
    received_s: float
    message: str = ""
    """Why it was refused."""
    group: str = ""
    """Of the API; that of the core is empty."""
    is_about_a_resource: bool = True
    at: int = 0
    """Where its entry stands in the log."""

    @property
    def is_denied(self) -> bool:
        """Refused because the caller has no right to it."""
        return self.code == 403 and f'User "{self.user}" cannot' in self.message

    @property
    def is_write(self) -> bool:
        return self.verb in WRITES


class AuditLog:
    """One log file; a position in it is a number of bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def position(self) -> int:
        """Where the next entry will stand."""
        return self._path.stat().st_size if self._path.exists() else 0

    def since(self, position: int = 0, user: str = "") -> list[Request]:
        """The requests after `position`, of one user or of all, in the order of their answers."""
        with self._path.open("rb") as file:
            file.seek(position)
            lines = file.read().split(b"\n")
        wanted = f'"username":"{user}"'.encode()
        found = []
        # The last piece may be half an entry: the next call sees the whole of it.
        for line in lines[:-1]:
            if not user or wanted in line:
                found.append(_request(line, position))
            position += len(line) + 1
        return found


def writes(requests: Iterable[Request], without: Sequence[str] = ()) -> Counter[str]:
    """Writes by verb and resource, but for some resources (`leases`)."""
    return Counter(
        f"{each.verb} {each.resource}" for each in requests if each.is_write and each.resource not in without
    )


def _request(line: bytes, at: int) -> Request:
    entry = json.loads(line)
    about, status = entry.get("objectRef") or {}, entry.get("responseStatus") or {}
    resource = about.get("resource") or entry["requestURI"].partition("?")[0]
    if about.get("subresource"):
        resource += f"/{about['subresource']}"
    return Request(
        user=entry["user"].get("username", ""),
        verb=entry["verb"],
        resource=resource,
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        code=status.get("code", 0),
        received_s=datetime.fromisoformat(entry["requestReceivedTimestamp"]).timestamp(),
        message=status.get("message", ""),
        group=about.get("apiGroup", ""),
        is_about_a_resource=bool(about),
        at=at,
    )
