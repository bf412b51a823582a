"""What a Deployment's apply costs in the embedded API server's store, in this process, without HTTP and controllers."""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Any

from bench.embedded_api_objects import deployment
from bench.report import Figure
from insource.env import system_env
from insource.local.builtin_types import struct_of
from insource.local.go_objects import decoded
from insource.local.store import Store

_NAMESPACE = "default"


def in_the_store(repeats: int) -> list[Figure]:
    """A Deployment's apply without HTTP and controllers, and what the check of its fields' types is of that."""
    store = Store(system_env())
    store.create(("", "namespaces"), {"metadata": {"name": _NAMESPACE}})
    kind = store.kinds.find(("apps", "deployments"))
    assert kind is not None

    def apply(number: int, image: str) -> dict[str, Any]:
        body = deployment(number, image)
        return store.patch(kind, _NAMESPACE, body["metadata"]["name"], body, "apply", field_manager="bench", force=True)

    def spent_us(work: Callable[[int], Any]) -> float:
        before = resource.getrusage(resource.RUSAGE_SELF)
        for number in range(repeats):
            work(number)
        after = resource.getrusage(resource.RUSAGE_SELF)
        return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / repeats * 1e6

    created = spent_us(lambda n: apply(n, "image:1"))
    changed = spent_us(lambda n: apply(n, "image:2"))
    body, present = deployment(0, "image:3"), store.get(kind, _NAMESPACE, "d00000")
    of = struct_of("apps", "Deployment")
    fresh = spent_us(lambda _: decoded(body, None, of, []))
    against = spent_us(lambda _: decoded(body, present, of, []))
    return [
        Figure("Deployment applied in the store alone: create", created, "µs CPU"),
        Figure("of that, checking its fields' types", fresh / created * 100, "%"),
        Figure("Deployment applied in the store alone: change", changed, "µs CPU"),
        Figure("of that, checking its fields' types", against / changed * 100, "%"),
    ]
