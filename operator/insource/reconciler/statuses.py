"""Writes what a plan says about an object: its status, and events for what a person should see. Decides nothing."""

from __future__ import annotations

from typing import Any

from insource.api.kinds import Misfit
from insource.api.kinds import Resource as Parsed
from insource.domain.snapshot import Plan
from insource.kube.applier import Applier
from insource.kube.cache import Cache
from insource.kube.client import ApiError
from insource.kube.events import EventRecorder, Note
from insource.kube.resources import Key, Object, Resource
from insource.reconciler.refusals import refused_status
from insource.reconciler.status_patch import status_patch


class StatusWriter:
    """`tell` a plan's status and events, in this order: an event never tells what the status does not yet say."""

    def __init__(self, applier: Applier, recorder: EventRecorder) -> None:
        self._applier = applier
        self._recorder = recorder

    async def tell(self, plan: Plan, resource: Resource, owner: Parsed[Any] | Misfit, cache: Cache[Any]) -> None:
        """Write the status if anything in it differs; `ApiError` as the API does, told by an event where it refuses."""
        patch = status_patch(owner.status, plan.status) if plan.status is not None else {}
        if patch:
            try:
                await self._applier.write_status(resource, Key(owner.namespace, owner.name), patch, cache)
            except ApiError as error:
                words = refused_status(error)
                if words:
                    await self.warn(resource, owner, "StatusRefused", words)
                raise
        for event in plan.events:
            await self._recorder.record(_regarding(resource, owner), Note(event.type, event.reason, event.note))

    async def warn(self, resource: Resource, owner: Parsed[Any] | Misfit, reason: str, words: str) -> None:
        """An event about what the status has no place for."""
        await self._recorder.record(_regarding(resource, owner), Note("Warning", reason, words))


def _regarding(resource: Resource, owner: Parsed[Any] | Misfit) -> Object:
    metadata = {"name": owner.name, "namespace": owner.namespace, "uid": owner.uid}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
