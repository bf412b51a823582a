"""Creating and changing objects: versions, generation, subresources, preconditions, dry run."""

from __future__ import annotations

import pytest

from tests.unit.local_widgets import WIDGETS, refusal, widget, widget_store


def test_create_fills_in_identity_and_defaults() -> None:
    obj = widget_store().create(WIDGETS, widget("a"), "ns")
    assert obj["spec"] == {"color": "red", "replicas": 1, "maxReplicas": 5}
    assert obj["metadata"]["generation"] == 1
    assert obj["metadata"]["uid"]


def test_generation_rises_with_the_spec_only() -> None:
    store = widget_store()
    store.create(WIDGETS, widget("a"), "ns")
    labelled = store.patch(WIDGETS, "ns", "a", {"metadata": {"labels": {"l": "1"}}}, "merge")
    assert labelled["metadata"]["generation"] == 1
    changed = store.patch(WIDGETS, "ns", "a", {"spec": {"replicas": 2}}, "merge")
    assert changed["metadata"]["generation"] == 2
    status = store.patch(WIDGETS, "ns", "a", {"status": {"replicas": 2}}, "merge", subresource="status")
    assert status["metadata"]["generation"] == 2


def test_a_write_that_changes_nothing_is_no_write() -> None:
    store = widget_store()
    first = store.create(WIDGETS, widget("a", replicas=2), "ns")
    again = store.patch(WIDGETS, "ns", "a", {"spec": {"replicas": 2}}, "merge")
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_status_and_spec_are_written_apart() -> None:
    store = widget_store()
    store.create(WIDGETS, {**widget("a"), "status": {"replicas": 7}}, "ns")
    assert "status" not in store.get(WIDGETS, "ns", "a")
    store.patch(WIDGETS, "ns", "a", {"spec": {"replicas": 3}, "status": {"replicas": 9}}, "merge")
    assert "status" not in store.get(WIDGETS, "ns", "a")
    both = {"spec": {"replicas": 1}, "status": {"replicas": 9}}
    obj = store.patch(WIDGETS, "ns", "a", both, "merge", subresource="status")
    assert (obj["spec"]["replicas"], obj["status"]) == (3, {"replicas": 9})


def test_a_stale_version_is_a_conflict() -> None:
    store = widget_store()
    old = store.create(WIDGETS, widget("a"), "ns")
    store.patch(WIDGETS, "ns", "a", {"spec": {"replicas": 2}}, "merge")
    error = refusal(store.update, WIDGETS, "ns", "a", old)
    assert (error.code, error.reason) == (409, "Conflict")
    assert "the object has been modified" in error.message


def test_an_update_needs_a_version() -> None:
    store = widget_store()
    store.create(WIDGETS, widget("a"), "ns")
    error = refusal(store.update, WIDGETS, "ns", "a", widget("a"))
    assert error.code == 422
    assert "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in error.message


@pytest.mark.parametrize(("namespace", "code", "reason"), [("ns", 409, "AlreadyExists"), ("nowhere", 404, "NotFound")])
def test_create_is_refused(namespace: str, code: int, reason: str) -> None:
    store = widget_store()
    store.create(WIDGETS, widget("a"), "ns")
    error = refusal(store.create, WIDGETS, widget("a"), namespace)
    assert (error.code, error.reason) == (code, reason)


def test_generate_name() -> None:
    obj = widget_store().create(WIDGETS, {"metadata": {"generateName": "g-"}, "spec": {"color": "red"}}, "ns")
    assert obj["metadata"]["name"].startswith("g-")
    assert len(obj["metadata"]["name"]) == 7


def test_dry_run_changes_nothing() -> None:
    store = widget_store()
    store.create(WIDGETS, widget("a"), "ns", dry_run=True)
    assert store.find(WIDGETS, "ns", "a") is None
    before = store.create(WIDGETS, widget("b"), "ns")
    tried = store.patch(WIDGETS, "ns", "b", {"spec": {"replicas": 2}}, "merge", dry_run=True)
    assert tried["metadata"]["generation"] == 2
    assert store.get(WIDGETS, "ns", "b") is before


def test_json_patch_test_fails() -> None:
    store = widget_store()
    store.create(WIDGETS, widget("a"), "ns")
    patch = [{"op": "test", "path": "/spec/color", "value": "blue"}, {"op": "remove", "path": "/spec/replicas"}]
    assert refusal(store.patch, WIDGETS, "ns", "a", patch, "json").code == 422


def test_strategic_merge_of_a_custom_resource_is_refused() -> None:
    store = widget_store()
    store.create(WIDGETS, widget("a"), "ns")
    assert refusal(store.patch, WIDGETS, "ns", "a", {"spec": {}}, "strategic").code == 415


def test_what_was_passed_in_is_copied() -> None:
    store = widget_store()
    given = widget("a", tags=["x"])
    store.create(WIDGETS, given, "ns")
    given["spec"]["tags"].append("y")
    assert store.get(WIDGETS, "ns", "a")["spec"]["tags"] == ["x"]


def test_scale() -> None:
    store = widget_store()
    store.create(WIDGETS, widget("a"), "ns")
    store.patch(WIDGETS, "ns", "a", {"spec": {"replicas": 4}}, "merge", subresource="scale")
    assert store.scale(WIDGETS, "ns", "a")["spec"] == {"replicas": 4}
    too_many = {"spec": {"replicas": 9}}
    error = refusal(store.patch, WIDGETS, "ns", "a", too_many, "merge", subresource="scale")
    assert "replicas must not exceed maxReplicas" in error.message
