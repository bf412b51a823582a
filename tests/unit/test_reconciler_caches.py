"""What the operator's caches take for a change, and what not."""

from __future__ import annotations

from typing import Any

from insource.kube import resources
from insource.kube.resources import Key
from insource.reconciler.caches import Caches

KEY = Key("voice", "d")


def deployment(version: int, **annotations: str) -> dict[str, Any]:
    metadata = {"name": "d", "namespace": "voice", "uid": "u", "resourceVersion": str(version)}
    return {"metadata": {**metadata, "annotations": annotations}, "spec": {"replicas": 1}, "status": {}}


def test_the_revision_that_kubernetes_notes_on_a_deployment_is_no_edit() -> None:
    cache = Caches().children[resources.DEPLOYMENTS]
    cache.observe(deployment(1, ours="x"))
    before = cache.get(KEY)
    assert before is not None
    before.settle("wanted")
    cache.observe(deployment(2, ours="x", **{"deployment.kubernetes.io/revision": "1"}))
    now = cache.get(KEY)
    assert now is not None
    assert now.same(before)
    assert now.wanted == "wanted"
    cache.observe(deployment(3, ours="y", **{"deployment.kubernetes.io/revision": "1"}))
    edited = cache.get(KEY)
    assert edited is not None
    assert not edited.same(now)
    assert edited.wanted is None
