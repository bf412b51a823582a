"""Who is calling: bearer tokens checked by the cluster, remembered briefly by their hash.

A token never appears in a log, an error or the cache. While the API server is away, tokens that were checked within
the last minute keep working; any other caller is told to try again.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Protocol

import structlog

from insource.api import meta
from insource.env import Clock
from insource.kube.client import ApiError, Client

_log = structlog.get_logger(__name__)

REVIEW_TIMEOUT_S = 5.0
CACHE_S = 60.0
REFUSED_CACHE_S = 10.0
CACHE_SIZE = 4096
_PREFIX = "system:serviceaccount:"
GATEWAY_SERVICE_ACCOUNT = "insource-gateway"


@dataclass(frozen=True)
class Caller:
    """A ServiceAccount."""

    namespace: str
    name: str

    @property
    def may_send(self) -> bool:
        """Whether it may send records of its namespace: as a serving pod's, which may have any ServiceAccount of it."""
        return self.namespace != meta.SYSTEM_NAMESPACE

    @property
    def is_gateway(self) -> bool:
        return self.namespace == meta.SYSTEM_NAMESPACE and self.name == GATEWAY_SERVICE_ACCOUNT

    @property
    def may_read(self) -> bool:
        return self.namespace == meta.SYSTEM_NAMESPACE

    def __str__(self) -> str:
        return f"{_PREFIX}{self.namespace}:{self.name}"


class ReviewUnavailableError(Exception):
    """The cluster did not say whether the token is good."""


class TokenReviewer(Protocol):
    """Asks the cluster whose token this is."""

    async def review(self, token: str, audience: str) -> str | None:
        """The user's name if the token is good for `audience`, else None. Raises ReviewUnavailableError."""
        ...


class ClusterTokenReviewer:
    """`TokenReview` by a Kubernetes client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def review(self, token: str, audience: str) -> str | None:
        try:
            async with asyncio.timeout(REVIEW_TIMEOUT_S):
                status = await self._client.token_review(token, [audience])
        except ApiError as error:
            _log.warning("token_review_failed", status=error.status, reason=error.reason)
            raise ReviewUnavailableError(f"TokenReview answered {error.status} {error.reason}") from None
        except TimeoutError:
            _log.warning("token_review_failed", status=0, reason="Timeout")
            raise ReviewUnavailableError(f"no TokenReview within {REVIEW_TIMEOUT_S} s") from None
        # Note: a review that ignores audiences answers without them; such a token was not made for us.
        if not status.get("authenticated") or audience not in status.get("audiences", ()):
            return None
        return str(status.get("user", {}).get("username", "")) or None


@dataclass(frozen=True)
class _Answer:
    user: str | None
    until: float


class Authenticator:
    """Token -> user, asked at most once a minute per token."""

    def __init__(self, reviewer: TokenReviewer, clock: Clock) -> None:
        self._reviewer = reviewer
        self._clock = clock
        self._answers: dict[bytes, _Answer] = {}

    async def user_of(self, token: str) -> str | None:
        """The user's name, or None for a token that is not good. Raises ReviewUnavailableError."""
        key = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        now = self._clock.monotonic()
        known = self._answers.get(key)
        if known is not None and now < known.until:
            return known.user
        user = await self._reviewer.review(token, meta.LEDGER_AUDIENCE)
        if len(self._answers) >= CACHE_SIZE:
            self._answers = {k: answer for k, answer in self._answers.items() if now < answer.until}
            if len(self._answers) >= CACHE_SIZE:
                self._answers.clear()
        self._answers[key] = _Answer(user, now + (REFUSED_CACHE_S if user is None else CACHE_S))
        return user


def caller_of(user: str) -> Caller | None:
    """`system:serviceaccount:<namespace>:<name>` -> who that is; None for any other user."""
    namespace, _, name = user.removeprefix(_PREFIX).partition(":")
    return Caller(namespace, name) if user.startswith(_PREFIX) and namespace and name else None
