"""Namespaces: what is in one from the start, and how it goes with all of its content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from insource.local.control_loop import ControlLoop
from insource.local.controllers import controllers
from insource.local.namespaces import PAUSE_S
from insource.local.persistence import Persistence
from insource.local.store import Store
from tests.sim.virtual import VirtualClock, virtual_env
from tests.unit.local_widgets import CRDS, NAMESPACES, WIDGETS, refusal, widget, widget_crd

CONFIG_MAPS = ("", "configmaps")
Cluster = tuple[Store, ControlLoop, VirtualClock]


@pytest.fixture
def cluster() -> Cluster:
    env, clock = virtual_env(1)
    store = Store(env)
    store.create(NAMESPACES, {"metadata": {"name": "ns"}})
    store.create(CRDS, widget_crd())
    loop = controllers(store, env)
    loop.settle()
    return store, loop, clock


def conditions(store: Store) -> dict[str, tuple[str, str]]:
    status = store.get(NAMESPACES, None, "ns")["status"]
    return {item["type"]: (item["status"], item["message"]) for item in status.get("conditions", [])}


def held_widget() -> dict[str, Any]:
    obj = widget("a")
    obj["metadata"]["finalizers"] = ["x.io/1"]
    return obj


def test_it_starts_with_its_service_account(cluster: Cluster) -> None:
    assert cluster[0].get(("", "serviceaccounts"), "ns", "default")


def test_it_is_terminating_until_its_content_is_gone(cluster: Cluster) -> None:
    store, loop, clock = cluster
    store.create(WIDGETS, held_widget(), "ns")
    store.create(CONFIG_MAPS, {"metadata": {"name": "c"}}, "ns")
    left = store.delete(NAMESPACES, None, "ns")
    assert left is not None
    assert left["status"]["phase"] == "Terminating"
    assert left["spec"] == {"finalizers": ["kubernetes"]}
    error = refusal(store.create, WIDGETS, widget("b"), "ns")
    assert (error.code, error.details["causes"][0]["reason"]) == (403, "NamespaceTerminating")
    loop.settle()
    clock.time += PAUSE_S
    loop.settle()
    assert store.find(CONFIG_MAPS, "ns", "c") is None
    assert conditions(store)["NamespaceContentRemaining"] == (
        "True",
        "Some resources are remaining: widgets.demo.insource.dev has 1 resource instances",
    )
    assert conditions(store)["NamespaceFinalizersRemaining"] == (
        "True",
        "Some content in the namespace has finalizers remaining: x.io/1 in 1 resource instances",
    )
    store.patch(WIDGETS, "ns", "a", {"metadata": {"finalizers": None}}, "merge")
    loop.settle()
    assert store.find(NAMESPACES, None, "ns") is None
    store.create(NAMESPACES, {"metadata": {"name": "ns"}})
    assert store.create(WIDGETS, widget("a"), "ns")


def test_its_content_is_left_alone_for_a_while(cluster: Cluster) -> None:
    """So that `kubectl delete -f` of the namespace and its content finds everything that it names."""
    store, loop, clock = cluster
    store.create(CONFIG_MAPS, {"metadata": {"name": "c"}}, "ns")
    store.delete(NAMESPACES, None, "ns")
    loop.settle()
    clock.time += PAUSE_S - 0.1
    loop.settle()
    assert store.find(CONFIG_MAPS, "ns", "c") is not None
    clock.time += 0.1
    loop.settle()
    assert store.find(NAMESPACES, None, "ns") is None


def test_content_that_goes_with_its_owner_is_no_trouble(cluster: Cluster) -> None:
    store, loop, clock = cluster
    owner = store.create(CONFIG_MAPS, {"metadata": {"name": "a"}}, "ns")
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": owner["metadata"]["uid"]}
    store.create(CONFIG_MAPS, {"metadata": {"name": "b", "ownerReferences": [reference]}}, "ns")
    store.delete(NAMESPACES, None, "ns")
    loop.settle()
    clock.time += PAUSE_S
    loop.settle()
    assert store.find(NAMESPACES, None, "ns") is None


def test_one_deleted_twice_in_a_row_waits_twice(cluster: Cluster) -> None:
    store, loop, clock = cluster
    for _ in range(2):
        store.delete(NAMESPACES, None, "ns")
        loop.settle()
        assert store.find(NAMESPACES, None, "ns") is not None
        clock.time += PAUSE_S
        loop.settle()
        assert store.find(NAMESPACES, None, "ns") is None
        store.create(NAMESPACES, {"metadata": {"name": "ns"}})
        loop.settle()


def test_only_finalize_changes_its_finalizers(cluster: Cluster) -> None:
    store = cluster[0]
    sent = {"metadata": {"name": "ns"}, "spec": {"finalizers": []}}
    assert store.update(NAMESPACES, None, "ns", sent)["spec"] == {"finalizers": ["kubernetes"]}
    assert (
        refusal(store.update, NAMESPACES, None, "ns", {"spec": {"finalizers": "x"}}, subresource="finalize").code == 400
    )
    store.delete(NAMESPACES, None, "ns")
    store.update(NAMESPACES, None, "ns", sent, subresource="finalize")
    assert store.find(NAMESPACES, None, "ns") is None


def test_one_that_was_going_still_goes_after_a_restart(tmp_path: Path) -> None:
    env, clock = virtual_env(2)
    before = Store(env)
    kept = Persistence(before, tmp_path)
    kept.open()
    before.create(NAMESPACES, {"metadata": {"name": "ns"}})
    before.create(CONFIG_MAPS, {"metadata": {"name": "c"}}, "ns")
    before.delete(NAMESPACES, None, "ns")
    kept.close()
    after = Store(env)
    again = Persistence(after, tmp_path)
    again.open()
    loop = controllers(after, env)
    loop.settle()
    clock.time += PAUSE_S
    loop.settle()
    assert after.find(NAMESPACES, None, "ns") is None
    again.close()
