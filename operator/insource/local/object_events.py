"""Events as `kubectl describe` shows them: one object per (subject, reason, message), counted when it happens again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from insource.env import Clock
from insource.local.objects import EVENTS, timestamp
from insource.local.store import ApiError, Store


class EventRecorder:
    """Writes the Events of one component. An Event that cannot be written is dropped: it is only for people."""

    def __init__(self, store: Store, clock: Clock, component: str, host: str = "") -> None:
        self._store = store
        self._clock = clock
        self._source = {"component": component} | ({"host": host} if host else {})

    def record(
        self, subject: Mapping[str, Any], reason: str, message: str, type: Literal["Normal", "Warning"] = "Normal"
    ) -> None:
        """Tell people that `reason` happened to `subject`."""
        metadata = subject["metadata"]
        namespace = metadata.get("namespace") or "default"
        digest = hashlib.sha256(f"{metadata['uid']} {reason} {message}".encode()).hexdigest()[:16]
        name = f"{metadata['name'][:200]}.{digest}"
        now = timestamp(self._clock.now())
        try:
            held = self._store.find(EVENTS, namespace, name)
            if held is not None:
                again = {"count": held.get("count", 1) + 1, "lastTimestamp": now}
                self._store.patch(EVENTS, namespace, name, again, "merge", field_manager=self._source["component"])
                return
            event = {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": {
                    "apiVersion": subject["apiVersion"],
                    "kind": subject["kind"],
                    "name": metadata["name"],
                    "namespace": metadata.get("namespace", ""),
                    "uid": metadata["uid"],
                    "resourceVersion": metadata.get("resourceVersion", ""),
                },
                "reason": reason,
                "message": message[:1024],
                "type": type,
                "source": self._source,
                "reportingComponent": self._source["component"],
                "reportingInstance": self._source.get("host", ""),
                "firstTimestamp": now,
                "lastTimestamp": now,
                "eventTime": None,
                "count": 1,
            }
            self._store.create(EVENTS, event, namespace, field_manager=self._source["component"])
        except ApiError:
            return
