"""The one seam to the Kubernetes API: what the rest may ask of it, and its errors. Knows no transport.

Objects are plain dicts. Every method raises `ApiError`, also when the API does not answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from insource.env import Env
from insource.kube.resources import Object, Resource
from insource.kube.shapes import WHOLE, Shape

if TYPE_CHECKING:
    from insource.kube.aiohttp_client import AiohttpClient

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


FIELD_CONFLICT = "FieldManagerConflict"
"""The reason of a cause of a 409: another field manager owns a field that we wanted to apply."""


class ApiError(Exception):
    """The API refused or did not answer.

    `status` is the HTTP status, 0 if there was no answer (then nothing is known about whether a write happened);
    `reason` the API's machine word (`NotFound`, `Conflict`, `Expired`; `Timeout` and `Unreachable` are ours);
    `retry_after` seconds that the API asked us to wait; `conflicts` the fields that we wanted to apply
    and another field manager owns, in the notation of `domain.yielding`.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        retry_after: float | None = None,
        conflicts: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.conflicts = conflicts


@dataclass(frozen=True)
class ObjectList:
    """One page of a list; `continue_token` is "" on the last one."""

    items: list[Object]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True)
class WatchEvent:
    """One line of a watch. A BOOKMARK's object carries only `metadata.resourceVersion`."""

    type: EventType
    object: Object


class Client(Protocol):
    """What Insource asks of a Kubernetes API. `namespace` "" means all namespaces, or a cluster-scoped kind.

    `shape` says how much of the objects in an answer is read: see `shapes`.
    """

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        """One object; `ApiError` 404 if there is none."""
        ...

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
        """A page of at most `limit` objects (0: all), selected by a label selector."""
        ...

    def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str,
        labels: str = "",
        timeout_s: int = 300,
        known: Callable[[str], bool] = lambda _: False,
        shape: Shape = WHOLE,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after `resource_version`, until the server ends it after about `timeout_s`. 410: relist.

        An object of which `known` says that its resourceVersion is no news may be left out, unread.
        """
        ...

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
        """Server-side apply; `ApiError` 409 if another manager owns a field and `force` is not set."""
        ...

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
        """JSON merge patch; with `metadata.resourceVersion` in it, 409 if the object has changed since."""
        ...

    async def create(self, resource: Resource, obj: Object) -> Object:
        """A new object; 409 if it exists."""
        ...

    async def delete(self, resource: Resource, name: str, namespace: str = "", *, uid: str = "") -> None:
        """Delete in the background; with `uid`, 409 if it is another object by now. A missing object is no error."""
        ...

    async def token_review(self, token: str, audiences: Sequence[str]) -> Object:
        """`status` of a TokenReview: `authenticated`, `user.username`, `audiences`, `error`."""
        ...

    async def token_request(
        self, namespace: str, service_account: str, audiences: Sequence[str], expiration_s: int
    ) -> Object:
        """`status` of a TokenRequest: `token`, `expirationTimestamp`."""
        ...


async def connect(kubeconfig: str | None, env: Env, *, context: str | None = None) -> AiohttpClient:
    """A client of the cluster that `kubeconfig` names; None: the pod's own cluster, else the user's default file.

    `context` is one of the file's; None: its current one.

    Raises `ApiError` with what is wrong if there is no usable configuration. The caller closes the client.
    """
    from insource.kube import kubeconfig as connecting  # it needs this module, so it cannot be imported above

    return await connecting.connect(kubeconfig, env, context=context)
