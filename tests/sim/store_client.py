"""`insource.kube.Client` over the embedded cluster's store, with the faults that an API and a network can have."""

from __future__ import annotations

import copy
import random
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from insource.kube.client import FIELD_CONFLICT, ApiError, ObjectList, WatchEvent
from insource.kube.resources import Object, Resource, key_of
from insource.kube.shapes import WHOLE, Shape, decode, encode
from insource.local.store import Store
from insource.local.store_errors import ApiError as StoreError

T = TypeVar("T")


class Crash(BaseException):
    """The operator dies here. No `except Exception` stops it, just as none stops SIGKILL."""


class _Turn:
    """Awaited at both ends of a call: others may go on meanwhile. A task of asyncio takes it for `sleep(0)`."""

    def __await__(self) -> Generator[None, None, None]:
        yield


@dataclass
class Faults:
    """Chances per write: to die before or after it, to be refused, to lose the answer of one that happened."""

    rng: random.Random
    crash: float = 0.0
    refuse: float = 0.0
    lose_answer: float = 0.0
    deny: Callable[[str], ApiError | None] = lambda _: None
    """What a policy says to a write, told as in `StoreClient.writes`: the refusal, or None."""

    def before(self) -> None:
        """Die or be refused, perhaps."""
        if self.rng.random() < self.crash:
            raise Crash
        if self.rng.random() < self.refuse:
            status, reason = self.rng.choice(
                ((409, "Conflict"), (429, "TooManyRequests"), (500, "InternalError"), (503, "ServiceUnavailable"))
            )
            raise ApiError(status, reason, "injected", 1.0 if status == 429 else None)

    def after(self) -> None:
        """Die or lose the answer, perhaps."""
        if self.rng.random() < self.crash:
            raise Crash
        if self.rng.random() < self.lose_answer:
            raise ApiError(0, "Timeout", "injected: committed, but the answer is lost")


class StoreClient:
    """Counts writes in `writes`, by kind; calls `after_write` after each that happened."""

    def __init__(self, store: Store, faults: Faults, after_write: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._faults = faults
        self._after_write = after_write
        self.writes: list[str] = []

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        await _Turn()
        return self._read(lambda: self._store.get(_kind(resource), namespace or None, name))

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        limit: int = 0,
        continue_token: str = "",
        shape: Shape = WHOLE,
    ) -> ObjectList:
        page = self._open(
            lambda: self._store.list(
                _kind(resource), namespace or None, label_selector=labels, limit=limit, continue_=continue_token
            )
        )
        return ObjectList([_seen(item, shape) for item in page.items], page.resource_version, page.continue_)

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str,
        labels: str = "",
        shape: Shape = WHOLE,
        **_: Any,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes so far, then the end: a simulation decides itself when to look again."""
        watch = self._open(
            lambda: self._store.watch(
                _kind(resource), namespace or None, label_selector=labels, resource_version=resource_version
            )
        )
        events = watch.drain()
        watch.close()
        for event in events:
            if event.type == "ERROR":
                raise ApiError(event.object["code"], event.object["reason"], event.object["message"])
            yield WatchEvent(event.type, _seen(event.object, shape))

    async def apply(
        self,
        resource: Resource,
        obj: Object,
        *,
        field_manager: str,
        force: bool = False,
        subresource: str = "",
        shape: Shape = WHOLE,
    ) -> Object:
        key = key_of(obj)
        answer = await self._write(
            f"apply {resource.kind} {key}",
            lambda: self._store.patch(
                _kind(resource),
                key.namespace or None,
                key.name,
                obj,
                "apply",
                subresource=subresource,
                field_manager=field_manager,
                force=force,
            ),
        )
        return _seen(answer, shape)

    async def merge_patch(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        patch: Object,
        *,
        subresource: str = "",
        shape: Shape = WHOLE,
    ) -> Object:
        answer = await self._write(
            f"patch {resource.kind}/{subresource} {namespace}/{name}",
            lambda: self._store.patch(
                _kind(resource), namespace or None, name, patch, "merge", subresource=subresource
            ),
        )
        return _seen(answer, shape)

    async def create(self, resource: Resource, obj: Object) -> Object:
        namespace = obj["metadata"].get("namespace") or None
        return await self._write(
            f"create {resource.kind} {obj['metadata']['name']}",
            lambda: self._store.create(_kind(resource), obj, namespace),
        )

    async def delete(self, resource: Resource, name: str, namespace: str = "", *, uid: str = "") -> None:
        try:
            await self._write(
                f"delete {resource.kind} {namespace}/{name}",
                lambda: self._store.delete(
                    _kind(resource), namespace or None, name, preconditions={"uid": uid} if uid else None
                ),
            )
        except ApiError as error:
            if error.status != 404:
                raise

    async def token_review(self, token: str, audiences: Sequence[str]) -> Object:
        raise NotImplementedError

    async def token_request(
        self, namespace: str, service_account: str, audiences: Sequence[str], expiration_s: int
    ) -> Object:
        raise NotImplementedError

    def _read(self, read: Callable[[], T]) -> T:
        return copy.deepcopy(self._open(read))

    def _open(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except StoreError as error:
            raise _told(error) from error

    async def _write(self, what: str, write: Callable[[], Any]) -> Any:
        await _Turn()  # the request is on its way
        self._faults.before()
        denied = self._faults.deny(what)
        if denied is not None:
            raise denied
        try:
            answer = copy.deepcopy(write())
        except StoreError as error:
            raise _told(error) from error
        self.writes.append(what)
        self._after_write()
        self._faults.after()
        await _Turn()  # the answer is on its way: what the write caused may be heard of before it
        return answer


def _seen(obj: Object, shape: Shape) -> Object:
    """A copy with only what the shape names, as it would come off the wire."""
    return cast(Object, decode(encode(obj), shape))


def _told(error: StoreError) -> ApiError:
    causes = error.details.get("causes", ())
    conflicts = tuple(cause["field"] for cause in causes if cause["reason"] == FIELD_CONFLICT)
    return ApiError(error.code, error.reason, error.message, conflicts=conflicts)


def _kind(resource: Resource) -> tuple[str, str]:
    return (resource.group, resource.plural)
