"""Tells people what happened to an object: events.k8s.io/v1, one per transition. Knows no particular kind.

An event is a courtesy: one that cannot be written is logged and forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import structlog

from insource.env import Env
from insource.kube.client import ApiError, Client
from insource.kube.lease import micro_time
from insource.kube.resources import EVENTS, Object

_log = structlog.get_logger(__name__)
_NOTE_LIMIT = 1024
_REMEMBERED = 20_000


@dataclass(frozen=True)
class Note:
    """What happened. `type` is Normal or Warning; `reason` and `action` are CamelCase words."""

    type: str
    reason: str
    note: str
    action: str = "Reconcile"


class EventRecorder:
    """Writes events about objects; says the same thing about the same object only once in a row."""

    def __init__(self, client: Client, env: Env, *, controller: str, instance: str, default_namespace: str) -> None:
        self._client = client
        self._env = env
        self._controller = controller
        self._instance = instance
        self._default_namespace = default_namespace
        self._run, self._count = env.ids.suffix(10), 0
        self._said: OrderedDict[tuple[str, str], Note] = OrderedDict()

    async def record(self, regarding: Object, note: Note) -> bool:
        """Write one event about `regarding`; False if it was said before or could not be written."""
        metadata = regarding["metadata"]
        subject = (metadata.get("uid") or "", note.reason)
        if self._said.get(subject) == note:
            return False
        self._said[subject] = note
        self._said.move_to_end(subject)
        if len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        try:
            await self._client.create(EVENTS, self._event(regarding, note))
        except ApiError as error:
            _log.warning("event_not_written", reason=note.reason, name=metadata["name"], error=str(error))
            return False
        return True

    def _event(self, regarding: Object, note: Note) -> Object:
        metadata = regarding["metadata"]
        self._count += 1
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {
                "name": f"{metadata['name'][:230]}.{self._run}{self._count:x}",
                "namespace": metadata.get("namespace") or self._default_namespace,
            },
            "eventTime": micro_time(self._env.clock.now()),
            "reportingController": self._controller,
            "reportingInstance": self._instance[:128],
            "action": note.action,
            "reason": note.reason,
            "type": note.type,
            "note": note.note[:_NOTE_LIMIT],
            "regarding": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "name": metadata["name"],
                "namespace": metadata.get("namespace") or "",
                "uid": metadata.get("uid") or "",
            },
        }
