"""Carries out writes: server-side apply, delete, status. The decision that a write is needed is somebody else's.

Feeds the answers back into the caches, so that we read our own writes; never applies twice what the API has settled
otherwise; writes nothing unless it may. Knows no particular kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from insource.kube.cache import Cache
from insource.kube.client import Client
from insource.kube.packed import Packed, digest
from insource.kube.resources import Key, Object, Resource, key_of, resource_of
from insource.kube.shapes import encode


class NotLeadingError(Exception):
    """We may not write: somebody else leads, or might."""


def whole_intent(desired: Object) -> str:
    """A digest of everything that is wanted."""
    return digest(encode(desired)).hex()


class Applier:
    """Writes children and statuses. `writes` counts by kind (`Deployment`, `ModelDeployment/status`, ...)."""

    def __init__(
        self,
        client: Client,
        caches: Mapping[Resource, Cache[Packed]],
        *,
        field_manager: str,
        may_write: Callable[[], bool],
        on_write: Callable[[str], None] = lambda _: None,
        intent_of: Callable[[Object], str] = whole_intent,
    ) -> None:
        """`intent_of` is a short text that differs wherever what is wanted differs."""
        self._intent_of = intent_of
        self._client = client
        self._caches = caches
        self._field_manager = field_manager
        self._may_write = may_write
        self._on_write = on_write
        self.writes: Counter[str] = Counter()

    async def apply(self, desired: Object) -> bool:
        """Apply `desired`, unless the live object is what the API made of exactly that before; True if written.

        Raises `ApiError` as the API does, `NotLeadingError` if a write is needed and not allowed.
        """
        resource, key = resource_of(desired), key_of(desired)
        cache = self._caches[resource]
        live = cache.get(key)
        wanted = self._intent_of(desired)
        if live is not None and live.wanted == wanted:
            return False
        self._check()
        answer = None
        cache.begin_write(key)
        try:
            answer = await self._client.apply(
                resource, desired, field_manager=self._field_manager, force=True, shape=cache.shape
            )
        finally:
            cache.end_write(key, answer)
        self._count(resource.kind)
        # Note: what the API made of our intent is settled even where a comparison would not say so (a defaulting
        # webhook, say); otherwise we would apply the same for ever.
        now = cache.get(key)
        if now is None:
            return True
        ours = cache.resource_version(key) == answer["metadata"]["resourceVersion"]
        if ours or now.digest == Packed(answer).digest:  # else somebody else was at it since
            now.settle(wanted)
        return True

    async def delete(self, resource: Resource, key: Key, uid: str) -> bool:
        """Delete exactly that object; True if it was still there for all we knew.

        Raises `ApiError`, with 409, too: another object has that name by now, or the server was in a conflict of its
        own. The next look, at newer caches, tells the one from the other.
        """
        if self._caches[resource].get(key) is None:
            return False
        self._check()
        await self._client.delete(resource, key.name, key.namespace, uid=uid)
        self._count(f"{resource.kind}/delete")
        return True

    async def write_status(self, resource: Resource, key: Key, status: Object, cache: Cache[Any]) -> None:
        """Merge `status` into the object's status, by one patch; `cache` takes note of the object as it is then."""
        self._check()
        answer = None
        cache.begin_write(key)
        try:
            answer = await self._client.merge_patch(
                resource, key.name, key.namespace, {"status": status}, subresource="status", shape=cache.shape
            )
        finally:
            cache.end_write(key, answer)
        self._count(f"{resource.kind}/status")

    def _check(self) -> None:
        if not self._may_write():
            raise NotLeadingError

    def _count(self, kind: str) -> None:
        self.writes[kind] += 1
        self._on_write(kind)
