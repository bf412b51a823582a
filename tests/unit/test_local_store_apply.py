"""Server-side apply: ownership, conflicts, what is dropped and what stays."""

from __future__ import annotations

from tests.unit.local_widgets import API_VERSION, WIDGETS, apply, refusal, widget, widget_store


def test_apply_owns_what_it_said_and_no_default() -> None:
    obj = apply(widget_store(), "m1", widget("a", ports=[{"port": 80}], opts={"k": "v"}))
    entry = obj["metadata"]["managedFields"][0]
    assert entry["fieldsV1"] == {
        "f:spec": {
            "f:color": {},
            "f:opts": {"f:k": {}},
            "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}},
        }
    }


def test_a_conflict_names_manager_and_field() -> None:
    store = widget_store()
    apply(store, "m1", widget("a"))
    error = refusal(apply, store, "m2", widget("a", color="blue"))
    assert error.message == 'Apply failed with 1 conflict: conflict with "m1": .spec.color'
    forced = apply(store, "m2", widget("a", color="blue"), force=True)
    assert forced["spec"]["color"] == "blue"
    assert [entry["manager"] for entry in forced["metadata"]["managedFields"]] == ["m2"]


def test_a_conflict_inside_a_map_list() -> None:
    store = widget_store()
    apply(store, "m1", widget("a", ports=[{"port": 80, "label": "x"}]))
    error = refusal(apply, store, "m2", widget("a", ports=[{"port": 80, "label": "y"}]))
    assert '.spec.ports[port=80,protocol="TCP"].label' in error.message


def test_an_update_takes_fields_away() -> None:
    store = widget_store()
    apply(store, "m1", widget("a", replicas=1))
    obj = store.patch(WIDGETS, "ns", "a", {"spec": {"replicas": 2}}, "merge", field_manager="upd")
    owners = {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"]["managedFields"]}
    assert "f:replicas" not in owners["m1"]["f:spec"]
    error = refusal(apply, store, "m1", widget("a", replicas=1))
    assert f'conflict with "upd" using {API_VERSION}: .spec.replicas' in error.message


def test_dropped_fields_go_unless_co_owned() -> None:
    store = widget_store()
    apply(store, "m1", widget("a", tags=["a", "b"], opts={"k": "v"}, ports=[{"port": 80, "label": "x"}]))
    apply(
        store, "m2", {"apiVersion": API_VERSION, "kind": "Widget", "metadata": {"name": "a"}, "spec": {"tags": ["b"]}}
    )
    left = apply(store, "m1", widget("a"))
    assert left["spec"] == {"color": "red", "replicas": 1, "maxReplicas": 5, "tags": ["b"]}


def test_dropping_a_container_that_others_fill_keeps_it() -> None:
    """kubectl's migration gives an apply manager the containers themselves (`.`): the trap of the research."""
    store = widget_store()
    store.create(WIDGETS, widget("a", opts={"k": "v"}), "ns", field_manager="kubectl-client-side-apply")
    obj = store.get(WIDGETS, "ns", "a")
    entry = {**obj["metadata"]["managedFields"][0], "operation": "Apply", "manager": "kubectl"}
    patch = [{"op": "replace", "path": "/metadata/managedFields", "value": [entry]}]
    store.patch(WIDGETS, "ns", "a", patch, "json")
    after = apply(store, "kubectl", widget("a", opts={"k": "v"}))
    assert after["spec"]["opts"] == {"k": "v"}
    assert after["spec"]["color"] == "red"


def test_apply_again_is_no_write() -> None:
    store = widget_store()
    first = apply(store, "m1", widget("a", tags=["x"]))
    assert apply(store, "m1", widget("a", tags=["x"])) is first


def test_status_is_owned_apart() -> None:
    store = widget_store()
    apply(store, "m1", widget("a"))
    body = {"apiVersion": API_VERSION, "kind": "Widget", "metadata": {"name": "a"}}
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    apply(store, "m1", {**body, "status": ready}, subresource="status")
    other = {"conditions": [{"type": "Other", "status": "True"}]}
    obj = apply(store, "m2", {**body, "status": other}, subresource="status")
    assert [item["type"] for item in obj["status"]["conditions"]] == ["Ready", "Other"]
    assert obj["spec"]["color"] == "red"


def test_refusals() -> None:
    store = widget_store()
    assert refusal(apply, store, "", widget("a")).code == 422
    assert refusal(apply, store, "m", widget("a", bogus=1)).code == 500
    assert refusal(apply, store, "m", widget("gone"), subresource="status").code == 404


def test_two_managers_share_a_deployment() -> None:
    store = widget_store()
    deployments = ("apps", "deployments")

    def deployment(*env: str, image: str | None = "i:1") -> dict[str, object]:
        container: dict[str, object] = {"name": "c", "env": [{"name": name, "value": "1"} for name in env]}
        if image:
            container["image"] = image
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
        }

    def put(manager: str, obj: dict[str, object]) -> list[str]:
        done = store.patch(deployments, "ns", "d", obj, "apply", field_manager=manager)
        return [item["name"] for item in done["spec"]["template"]["spec"]["containers"][0].get("env", [])]

    assert put("m1", deployment("A", "B")) == ["A", "B"]
    assert put("m2", deployment("C", image=None)) == ["A", "B", "C"]
    assert put("m1", deployment("B")) == ["B", "C"]
