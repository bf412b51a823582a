"""Keeps the catalogue: built-in objects are there, as shipped, unless a user has made them theirs; misfits are told.

Level-triggered like all else: looked at when leadership begins and whenever such an object changes or goes away.
Built-in ones are applied by a field manager of their own and never with force: a field that a user has set stays the
user's, what a user has taken out comes back, and the rest follows each release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from insource.api.kinds import Misfit
from insource.api.meta import CATALOG_FIELD_MANAGER
from insource.domain.accelerators import plan_class
from insource.domain.drift import covers
from insource.domain.misfits import plan_mended, plan_misfit
from insource.domain.yielding import UnknownPathError, without
from insource.env import Clock
from insource.kube import resources
from insource.kube.applier import NotLeadingError
from insource.kube.cache import Cache
from insource.kube.client import ApiError, Client
from insource.kube.resources import Key, Object, Resource, resource_of
from insource.reconciler.caches import Caches
from insource.reconciler.refusals import refusal_of
from insource.reconciler.statuses import StatusWriter

_log = structlog.get_logger(__name__)


class CatalogueReconciler:
    """One pass per object, safe to run at any time."""

    def __init__(
        self,
        client: Client,
        caches: Caches,
        statuses: StatusWriter,
        clock: Clock,
        *,
        builtins: Iterable[Object],
        may_write: Callable[[], bool],
        on_write: Callable[[str], None],
    ) -> None:
        self._client = client
        self._counts_of = caches.counts_of
        self._caches: Mapping[Resource, Cache[Any]] = caches.of_catalogue()
        self._statuses = statuses
        self._clock = clock
        self._builtins = {(resource_of(obj), obj["metadata"]["name"]): obj for obj in builtins}
        self._may_write = may_write
        self._on_write = on_write
        self._unsettled = set(self._builtins)

    def objects(self) -> list[tuple[Resource, str]]:
        """Everything to look at: what is there, and what should be."""
        present = {(kind, key.name) for kind, cache in self._caches.items() for key in cache.keys()}  # noqa: SIM118
        return sorted(present | self._builtins.keys(), key=lambda item: (item[0].kind, item[1]))

    def unsettled(self) -> str:
        """The first built-in object that has not had an answer from the API yet, empty if all have."""
        return min((f'{kind.kind} "{name}"' for kind, name in self._unsettled), default="")

    async def reconcile(self, kind: Resource, name: str) -> None:
        """Bring one object level. `ApiError` and `NotLeadingError` come through."""
        builtin = self._builtins.get((kind, name))
        if builtin is not None:
            await self._keep(kind, name, builtin)
        cache = self._caches[kind]
        found = cache.get(Key("", name))
        if found is None:
            return
        now = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        if isinstance(found, Misfit):
            plan = plan_misfit(found, now)
        elif kind is resources.ACCELERATOR_CLASSES:
            plan = plan_class(found, self._counts_of(found), now)
        else:
            plan = plan_mended(found, now)
        await self._statuses.tell(plan, kind, found, cache)

    async def _keep(self, kind: Resource, name: str, builtin: Object) -> None:
        try:
            live = await self._live(kind, name)
            try:
                await self._apply_if_other(kind, name, builtin, live)
            except ApiError as error:
                if not error.conflicts:
                    raise
                await self._apply_if_other(kind, name, _but_for(error.conflicts, builtin), live)
        except ApiError as error:
            if refusal_of(builtin, error) is not None:
                # One that is refused for good must not keep the operator from being ready for all the others.
                self._unsettled.discard((kind, name))
            raise
        self._unsettled.discard((kind, name))

    async def _live(self, kind: Resource, name: str) -> Object:
        try:
            return await self._client.get(kind, name)
        except ApiError as error:
            if error.status != 404:
                raise
            return {"metadata": {}}

    async def _apply_if_other(self, kind: Resource, name: str, wanted: Object, live: Object) -> None:
        if "deletionTimestamp" in live["metadata"] or covers(wanted, live):
            return
        if not self._may_write():
            raise NotLeadingError
        answer = await self._client.apply(kind, wanted, field_manager=CATALOG_FIELD_MANAGER)
        self._on_write(kind.kind)
        # Note: told to all who refer to it; and known at once, or a deletion before its event would go unseen.
        self._caches[kind].observe(answer)
        _log.info("catalogue_entry_applied", kind=kind.kind, name=name)


def _but_for(conflicts: tuple[str, ...], builtin: Object) -> Object:
    """What is left to us of a built-in object of which a user owns fields."""
    try:
        return without(builtin, conflicts)
    except UnknownPathError as error:
        _log.warning("catalogue_entry_is_the_users", name=builtin["metadata"]["name"], field=str(error))
        return {}
