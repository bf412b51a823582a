"""The watch of our own kinds, by kopf: the only module that imports it. Feeds caches; decides and writes nothing.

Only `on.event`, which keeps no state; null storages, no finalizer, no annotation, no peering, no scanning. kopf loses
deletions across a 410, so `app` lists these kinds from time to time and the caches close the gap.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import kopf

from insource.kube.aiohttp_client import AiohttpClient
from insource.kube.cache import Cache
from insource.kube.resources import Resource

WATCH_S = 60
"""How long one request of kopf's watches: kopf does not show us bookmarks, so only a new request tells of life."""


class _NoDiff(kopf.DiffBaseStorage):
    """Remembers nothing: we compare with the live state, not with what we saw last."""

    def fetch(self, *, body: Any) -> None:  # noqa: ARG002
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        pass


class _NoProgress(kopf.ProgressStorage):
    """Remembers nothing: our handlers have no progress."""

    def fetch(self, *, key: Any, body: Any) -> None:  # noqa: ARG002
        return None

    def store(self, *, key: Any, record: Any, body: Any, patch: Any) -> None:
        pass

    def purge(self, *, key: Any, body: Any, patch: Any) -> None:
        pass

    def touch(self, *, body: Any, patch: Any, value: Any) -> None:
        pass

    def clear(self, *, essence: Any) -> Any:
        return essence

    def flush(self) -> None:
        pass


class _Forever:
    """Seconds between tries of a request that fails. Endless: an API server may be away for longer than any list."""

    def __iter__(self) -> Iterator[float]:
        yield from (1, 1, 2, 3, 5, 8)
        while True:
            yield 15


def _settings(watch_s: int) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.persistence.finalizer = "insource.dev/finalizer"
    settings.persistence.diffbase_storage = _NoDiff()
    settings.persistence.progress_storage = _NoProgress()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.queueing.idle_timeout = 0.05
    settings.execution.max_workers = 1
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = _Forever()
    settings.watching.server_timeout = watch_s
    settings.watching.inactivity_timeout = watch_s + 15
    return settings


def _registry(
    client: AiohttpClient,
    caches: Mapping[Resource, Cache[Any]],
    heard: Callable[[str], None],
    namespaces: Sequence[str],
) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    plurals = {
        resource.path(namespace): resource.plural
        for resource in caches
        for namespace in (namespaces if resource.namespaced and namespaces else ("",))
    }

    def hear(path: str) -> None:
        if path in plurals:
            heard(plurals[path])

    async def login(**_: Any) -> kopf.AiohttpSession:
        return kopf.AiohttpSession(server=client.base_url, aiohttp_session=client.open_session(hear))

    kopf.on.login(registry=registry)(login)
    for resource, cache in caches.items():

        async def observe(*, type: str | None, body: Any, cache: Cache[Any] = cache, **_: Any) -> None:
            obj = dict(body)
            if type == "DELETED":
                cache.observe_deleted(obj)
            else:
                cache.observe(obj)

        kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)(observe)
    return registry


async def watch_own_kinds(
    client: AiohttpClient,
    caches: Mapping[Resource, Cache[Any]],
    started: Callable[[], None] = lambda: None,
    heard: Callable[[str], None] = lambda _: None,
    watch_s: int = WATCH_S,
    namespaces: Sequence[str] = (),
) -> None:
    """Feed each cache from kopf's watch of its kind until cancelled. Ends with an error if kopf does.

    `started` is called as soon as kopf has put its own handlers for SIGTERM and SIGINT in place of whatever was there.
    `heard` is told the plural of a kind each time the API begins to answer about it, at least each `watch_s` seconds.
    `namespaces`: only these are watched; empty: all.
    """
    logging.getLogger("kopf").setLevel(logging.WARNING)
    tasks = await kopf.spawn_tasks(
        registry=_registry(client, caches, heard, namespaces),
        settings=_settings(watch_s),
        clusterwide=not namespaces,
        namespaces=namespaces,
        standalone=True,
        # For peering, which we have not. kopf would else ask for the user's name, and a container's has none.
        identity=cast(Any, "insource"),
    )
    started()
    # Note: not kopf.operator or kopf.run_tasks, which at their end cancel every task of the process that is younger
    # than they are: the one that gives up the Lease, say.
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
