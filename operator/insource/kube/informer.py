"""List and watch of one kind into a `Cache`, for ever: bookmarks, 410, relists, back-off. Knows no particular kind.

While the API is away the cache keeps what it has. A periodic list, jittered, closes every gap that a watch can have.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from insource.env import Env
from insource.kube.cache import Cache
from insource.kube.client import ApiError, Client
from insource.kube.resources import Key, Object, Resource, key_of

T = TypeVar("T")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class InformerOptions:
    """Durations in seconds. `relist_s` and the watches' length are jittered by +-20 %."""

    namespace: str = ""
    labels: str = ""
    relist_s: float = 600.0
    watch_s: float = 240.0
    page: int = 500
    backoff_s: float = 0.2
    backoff_limit_s: float = 15.0


def whole(obj: Object) -> Object:
    """The projection that keeps everything but `managedFields`, which is most of an object's size."""
    obj["metadata"].pop("managedFields", None)
    return obj


class Informer(Generic[T]):
    """Keeps `cache` level with the API; `cache.synced` and `cache.subscribe` tell of it."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        env: Env,
        project: Callable[[Object], T],
        options: InformerOptions = InformerOptions(),
        cache: Cache[T] | None = None,
    ) -> None:
        self.resource = resource
        self.cache: Cache[T] = Cache(project) if cache is None else cache
        self.cache.expect(options.namespace)
        self._client = client
        self._clock = env.clock
        self._rng = env.rng
        self._options = options
        self._version = ""
        self._progress = self._clock.monotonic()
        self._relist_due = 0.0
        self._began = self._progress
        self._failures = 0

    def progress_age(self) -> float:
        """Seconds since the API last told us anything about this kind: for liveness."""
        return self._clock.monotonic() - self._progress

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            self._began = self._clock.monotonic()
            try:
                if not self._version or self._clock.monotonic() >= self._relist_due:
                    await self.relist()
                await self._watch()
                self._failures = 0
            except ApiError as error:
                if error.status == 410:
                    self._version = ""  # our place in the history is gone: only a list tells what we missed
                await self._back_off(error)

    async def relist(self) -> None:
        """Read everything once, page by page, and drop from the cache what is not there any more."""
        options = self._options
        present: set[Key] = set()
        token = ""
        while True:
            page = await self._client.list(
                self.resource,
                options.namespace,
                labels=options.labels,
                limit=options.page,
                continue_token=token,
                shape=self.cache.shape,
            )
            self._advance()
            for obj in page.items:
                present.add(key_of(obj))
                self.cache.observe_listed(obj)
            token = page.continue_token
            if not token:
                break
        self.cache.prune(present, page.resource_version, options.namespace)
        self._version = page.resource_version
        self._relist_due = self._clock.monotonic() + self._jittered(options.relist_s)

    async def _watch(self) -> None:
        options = self._options
        until_relist = max(1.0, self._relist_due - self._clock.monotonic())
        events = self._client.watch(
            self.resource,
            options.namespace,
            resource_version=self._version,
            labels=options.labels,
            timeout_s=int(min(self._jittered(options.watch_s), until_relist)) + 1,
            known=self.cache.is_echo,
            shape=self.cache.shape,
        )
        async with aclosing(events):
            async for event in events:
                self._advance()
                self._failures = 0
                if event.type == "DELETED":
                    self.cache.observe_deleted(event.object)
                elif event.type != "BOOKMARK":
                    self.cache.observe(event.object)
                self._version = event.object["metadata"]["resourceVersion"]
        self._advance()

    def _advance(self) -> None:
        self._progress = self._clock.monotonic()

    async def _back_off(self, error: ApiError) -> None:
        options = self._options
        if self._clock.monotonic() - self._began >= options.backoff_limit_s:
            self._failures = 0  # what has lasted so long is no hot loop, though nothing was told
        ceiling = min(options.backoff_limit_s, options.backoff_s * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        delay = error.retry_after or ceiling * self._rng.uniform(0.5, 1.0)
        _log.warning("watch_interrupted", resource=self.resource.plural, error=str(error), retry_in_s=round(delay, 2))
        await self._clock.sleep(delay)

    def _jittered(self, seconds: float) -> float:
        return seconds * self._rng.uniform(0.8, 1.2)
