"""How objects go: finalizers, grace, owners, namespaces, CRDs."""

from __future__ import annotations

from typing import Any

import pytest

from insource.local.store import Store
from tests.unit.local_widgets import CRDS, WIDGETS, refusal, widget, widget_store

CONFIG_MAPS = ("", "configmaps")
PODS = ("", "pods")


def owned(name: str, owner: dict[str, Any]) -> dict[str, Any]:
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": True,
    }
    return {"metadata": {"name": name, "ownerReferences": [reference]}}


def pod(store: Store, name: str) -> dict[str, Any]:
    return store.create(PODS, {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}}, "ns")


def test_finalizers_hold_an_object() -> None:
    store = widget_store()
    obj = widget("a")
    obj["metadata"]["finalizers"] = ["x.io/1"]
    store.create(WIDGETS, obj, "ns")
    left = store.delete(WIDGETS, "ns", "a")
    assert left is not None
    assert left["metadata"]["deletionTimestamp"]
    assert left["metadata"]["generation"] == 2
    added = {"metadata": {"finalizers": ["x.io/1", "x.io/2"]}}
    assert refusal(store.patch, WIDGETS, "ns", "a", added, "merge").code == 422
    last = store.patch(WIDGETS, "ns", "a", {"metadata": {"finalizers": None}}, "merge")
    assert last["metadata"]["deletionTimestamp"]
    assert store.find(WIDGETS, "ns", "a") is None


@pytest.mark.parametrize(("propagation", "kept"), [("Background", False), ("Foreground", False), ("Orphan", True)])
def test_dependents_follow(propagation: str, kept: bool) -> None:
    store = widget_store()
    owner = store.create(WIDGETS, widget("a"), "ns")
    store.create(CONFIG_MAPS, owned("child", owner), "ns")
    store.delete(WIDGETS, "ns", "a", propagation=propagation)
    assert store.find(WIDGETS, "ns", "a") is None
    child = store.find(CONFIG_MAPS, "ns", "child")
    assert (child is not None) is kept
    if child is not None:
        assert "ownerReferences" not in child["metadata"]


def test_foreground_waits_for_dependents() -> None:
    store = widget_store()
    owner = store.create(WIDGETS, widget("a"), "ns")
    child = owned("child", owner)
    child["metadata"]["finalizers"] = ["x.io/1"]
    store.create(CONFIG_MAPS, child, "ns")
    store.delete(WIDGETS, "ns", "a", propagation="Foreground")
    assert store.get(WIDGETS, "ns", "a")["metadata"]["finalizers"] == ["foregroundDeletion"]
    store.patch(CONFIG_MAPS, "ns", "child", {"metadata": {"finalizers": None}}, "merge")
    assert store.find(WIDGETS, "ns", "a") is None


def test_a_child_whose_owner_never_was_is_collected() -> None:
    store = widget_store()
    stranger = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "o", "uid": "1-2-3"}}
    store.create(CONFIG_MAPS, owned("child", stranger), "ns")
    assert store.find(CONFIG_MAPS, "ns", "child") is None


def test_a_bound_pod_stays_until_its_node_ends_it() -> None:
    store = widget_store()
    pod(store, "bound")
    store.patch(PODS, "ns", "bound", {"spec": {"nodeName": "n1"}}, "merge")
    left = store.delete(PODS, "ns", "bound")
    assert left is not None
    assert left["metadata"]["deletionGracePeriodSeconds"] == 30
    shorter = store.delete(PODS, "ns", "bound", grace_period_seconds=5)
    assert shorter is not None
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    assert store.delete(PODS, "ns", "bound", grace_period_seconds=0) is None
    assert store.find(PODS, "ns", "bound") is None


def test_an_unbound_pod_goes_at_once() -> None:
    store = widget_store()
    pod(store, "loose")
    assert store.delete(PODS, "ns", "loose") is None


def test_a_crd_takes_its_objects_along() -> None:
    store = widget_store()
    store.create(WIDGETS, widget("a"), "ns")
    store.delete(CRDS, None, "widgets.demo.insource.dev")
    assert store.kinds.find(WIDGETS) is None


def test_preconditions() -> None:
    store = widget_store()
    store.create(WIDGETS, widget("a"), "ns")
    assert refusal(store.delete, WIDGETS, "ns", "a", preconditions={"uid": "other"}).code == 409
    assert refusal(store.delete, WIDGETS, "ns", "a", preconditions={"resourceVersion": "1"}).code == 409
