"""Events as `kubectl describe` shows them: one object per (subject, reason, message), counted when it happens again.

As client-go's two recorders write them: most components the older way, the scheduler by events.k8s.io. An Event that
cannot be written is dropped: it is only for people.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from insource.env import Clock
from insource.local.objects import EVENTS, timestamp
from insource.local.store import ApiError, Store

Level = Literal["Normal", "Warning"]
REMEMBERED = 4096
"""Of the Events that it has written, how many a recorder counts on; what came before them is told anew."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EventRecorder:
    """Writes the Events of one component."""

    def __init__(self, store: Store, clock: Clock, component: str, host: str = "") -> None:
        self._store = store
        self._clock = clock
        self._component = component
        self._host = host
        self._written = _Written()

    def record(self, subject: Mapping[str, Any], reason: str, message: str, type: Level = "Normal") -> None:
        """Tell people that `reason` happened to `subject`."""
        now = self._clock.now()
        told = (subject["metadata"]["uid"], reason, message, type)
        with contextlib.suppress(ApiError):
            held = self._written.find(self._store, told)
            if held is not None:
                again = {"count": held.get("count", 1) + 1, "lastTimestamp": timestamp(now)}
                self._written.count(self._store, held, again, self._component)
                return
            event = {
                "source": {"component": self._component} | ({"host": self._host} if self._host else {}),
                "reportingComponent": self._component,
                "reportingInstance": self._host,
                "firstTimestamp": timestamp(now),
                "lastTimestamp": timestamp(now),
                "count": 1,
            }
            said = _about(subject) | {"reason": reason, "message": message[:1024], "type": type}
            self._written.create(self._store, told, event | said, now, self._component)


class SeriesRecorder:
    """The same in the way of events.k8s.io, which has an action, and a series in place of a count."""

    def __init__(self, store: Store, clock: Clock, controller: str, instance: str) -> None:
        self._store = store
        self._clock = clock
        self._controller = controller
        self._instance = instance
        self._written = _Written()

    def record(
        self, subject: Mapping[str, Any], reason: str, message: str, type: Level = "Normal", *, action: str
    ) -> None:
        """Tell people that `reason` happened to `subject` while `action` was tried."""
        now = self._clock.now()
        told = (subject["metadata"]["uid"], reason, message, type)
        moment = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        with contextlib.suppress(ApiError):
            held = self._written.find(self._store, told)
            if held is not None:
                count = (held.get("series") or {}).get("count", 1) + 1
                again = {"series": {"count": count, "lastObservedTime": moment}}
                self._written.count(self._store, held, again, self._controller)
                return
            event = {
                "eventTime": moment,
                "action": action,
                "reportingComponent": self._controller,
                "reportingInstance": self._instance,
            }
            said = _about(subject) | {"reason": reason, "message": message[:1024], "type": type}
            self._written.create(self._store, told, event | said, now, self._controller)


def _about(subject: Mapping[str, Any]) -> dict[str, Any]:
    metadata = subject["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "involvedObject": {
            "apiVersion": subject["apiVersion"],
            "kind": subject["kind"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
    }


class _Written:
    """Under which names Events have been written; the oldest are forgotten."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, ...], tuple[str, str]] = {}

    def find(self, store: Store, told: tuple[str, ...]) -> dict[str, Any] | None:
        """The Event that said the same, if it is still there."""
        place = self._names.get(told)
        return store.find(EVENTS, *place) if place is not None else None

    def create(self, store: Store, told: tuple[str, ...], event: dict[str, Any], now: datetime, manager: str) -> None:
        """Raises ApiError."""
        about = event["involvedObject"]
        namespace = about["namespace"] or "default"
        moment = (now - _EPOCH).days * 86_400 * 10**9 + (now - _EPOCH).seconds * 10**9 + now.microsecond * 1000
        while store.find(EVENTS, namespace, f"{about['name'][:200]}.{moment:x}") is not None:
            moment += 1
        name = f"{about['name'][:200]}.{moment:x}"
        event = {**event, "metadata": {"name": name, "namespace": namespace}}
        store.create(EVENTS, event, namespace, field_manager=manager)
        self._names[told] = (namespace, name)
        if len(self._names) > REMEMBERED:
            del self._names[next(iter(self._names))]

    def count(self, store: Store, held: dict[str, Any], again: dict[str, Any], manager: str) -> None:
        """Raises ApiError."""
        metadata = held["metadata"]
        store.patch(EVENTS, metadata["namespace"], metadata["name"], again, "merge", field_manager=manager)
