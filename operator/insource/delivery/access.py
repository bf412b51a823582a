"""How a source is asked: at which address, with which credentials, and what its refusals mean. No network here."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Refused:
    """An answer with an HTTP status of 300 or more that is no redirect to follow."""

    status: int
    reason: str
    region: str = ""
    """Where the bucket is, if the answer tells."""
    code: str = ""
    """The source's own name for what is wrong."""

    def __str__(self) -> str:
        return f"HTTP {self.status} {self.reason}" + (f" ({self.code})" if self.code else "")


class Access(Protocol):
    """What is known about one source beside its URL."""

    def address(self, url: str, query: str = "") -> str:
        """The https URL that is asked for a source's URL. `query` is added to it, escaped as it is to be sent."""
        ...

    def version(self, version: str | None) -> str:
        """The query that asks for one version of a file; empty: the newest, or what has no versions."""
        ...

    def headers(self, address: str) -> dict[str, str]:
        """What proves at `address` that we may have it; for that address only, and only now."""
        ...

    def moved(self, refused: Refused) -> bool:
        """Whether to ask anew: the answer told where the source is, and `address` now says so."""
        ...

    def advice(self, refused: Refused) -> str:
        """What to do about a refusal; empty if there is nothing special to say."""
        ...


@dataclass(frozen=True)
class Credentials:
    """A source by https, with what is shown at it, and only there."""

    secret: str = ""
    """The Secret's name, for messages."""
    token: str = ""
    username: str = ""
    password: str = ""

    @property
    def header(self) -> str:
        """The `Authorization` header; empty: none."""
        if self.token:
            return f"Bearer {self.token}"
        if self.username:
            return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return ""

    def address(self, url: str, query: str = "") -> str:
        """The URL itself."""
        return f"{url}?{query}" if query else url

    def version(self, version: str | None) -> str:  # noqa: ARG002
        """Never any: the URL says all."""
        return ""

    def headers(self, address: str) -> dict[str, str]:  # noqa: ARG002
        """The `Authorization`, if there is one."""
        return {"Authorization": self.header} if self.header else {}

    def moved(self, refused: Refused) -> bool:  # noqa: ARG002
        """Never: who has moved says so by a redirect."""
        return False

    def advice(self, refused: Refused) -> str:
        """About a refusal for want of credentials."""
        if refused.status not in (401, 403):
            return ""
        return f'check Secret "{self.secret}"' if self.secret else "give the backend sourceCredentials"
