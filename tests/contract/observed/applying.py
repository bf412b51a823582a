"""Server-side apply: who owns what, what is dropped, what conflicts."""

from __future__ import annotations

from typing import Any

from tests.contract.observed.identity import OTHER_UID
from tests.contract.observed.observer import Observer, config_map, owners, said, spec_of
from tests.servers import APPLY

FIRST: dict[str, Any] = {
    "color": "red",
    "tags": ["a", "b"],
    "atoms": ["x"],
    "plain": ["p"],
    "ports": [{"port": 80, "label": "h"}],
    "opts": {"k": "v"},
    "atomicmap": {"k": "v"},
}
SECOND: dict[str, Any] = {"tags": ["b", "c"], "ports": [{"port": 443}], "opts": {"z": "w"}}
CONFLICTS: dict[str, dict[str, Any]] = {
    "color": {"color": "blue"},
    "atoms": {"atoms": ["x", "y"]},
    "plain": {"plain": ["q"]},
    "atomicmap": {"atomicmap": {"z": "1"}},
    "portlabel": {"ports": [{"port": 80, "label": "other"}]},
    "two": {"color": "blue", "opts": {"k": "zz"}},
}
_META = ("labels", "finalizers", "ownerReferences")


def ownership(o: Observer) -> None:
    path = f"{o.widgets}/s"
    made = o.apply("s", "m1", FIRST)
    o.see("ssa-create", [made.status, made.body["spec"], owners(made.body), made.body["metadata"].get("generation")])
    again = o.apply("s", "m1", FIRST).body["metadata"]["resourceVersion"]
    o.see("ssa-noop-same-rv", again == o.get(path).body["metadata"]["resourceVersion"])
    merged = o.apply("s", "m2", SECOND)
    o.see("ssa-m2-merge", [*spec_of(merged), owners(merged.body)])
    for name, spec in CONFLICTS.items():
        o.see(f"ssa-conflict-{name}", said(o.apply("s", "m2", {**SECOND, **spec})))
    shared = o.apply("s", "m2", {"color": "red", "ports": [{"port": 443}]})
    o.see("ssa-share+drop", [*spec_of(shared), owners(shared.body)])
    dropped = o.apply("s", "m1", {"tags": ["b"], "ports": [{"port": 80}]})
    o.see("ssa-m1-drops (color co-owned)", [*spec_of(dropped), owners(dropped.body)])
    o.see("ssa-drop-required-color", said(o.apply("s", "m2", {"ports": [{"port": 443}]})))
    forced = o.apply("s", "m2", {"color": "blue", "ports": [{"port": 80, "label": "forced"}]}, force=True)
    o.see("ssa-force", [*spec_of(forced), owners(forced.body)])
    o.see("update-takes-ownership", owners(o.merge(f"{path}?fieldManager=upd", {"spec": {"color": "green"}}).body))
    o.see("ssa-vs-update-conflict", said(o.apply("s", "m2", {"color": "blue"})))


def status_and_metadata(o: Observer) -> None:
    o.apply("s", "m1", {"color": "red"})
    ready = {"replicas": 1, "conditions": [{"type": "Ready", "status": "True"}]}
    written = o.apply_status("s", "st", ready)
    o.see("ssa-status", [written.status, written.body["status"], owners(written.body)])
    other = o.apply_status("s", "st2", {"conditions": [{"type": "Other", "status": "True"}]})
    o.see("ssa-status-map-merge", other.body["status"])
    o.see("ssa-status-missing", said(o.apply_status("none", "st", {"replicas": 1})))
    # An owner that is there: a collector would take the object away in the middle.
    uid = o.post(o.configmaps, config_map("o")).body["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": uid}
    metadata = {"labels": {"a": "1"}, "finalizers": ["x.io/q"], "ownerReferences": [reference]}
    given = o.apply("s", "m3", None, metadata=metadata)
    o.see("ssa-meta", [given.status, [given.body["metadata"].get(k) for k in _META], owners(given.body)])
    taken = o.apply("s", "m3", None)
    o.see("ssa-meta-dropped", [taken.status, [taken.body["metadata"].get(k) for k in _META], owners(taken.body)])


def odd_bodies(o: Observer) -> None:
    path = f"{o.widgets}/s"
    o.apply("s", "m1", {"color": "green"})
    entry = {"manager": "z", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {}, "apiVersion": "v1"}
    o.see("ssa-with-managedFields", said(o.apply("s", "m3", {"color": "green"}, metadata={"managedFields": [entry]})))
    o.see("ssa-stale-rv", said(o.apply("s", "m3", {"color": "green"}, metadata={"resourceVersion": "1"})))
    o.see("ssa-uid-on-missing", said(o.apply("uidx", "m3", {"color": "green"}, metadata={"uid": OTHER_UID})))
    body = 'apiVersion: demo.insource.dev/v1alpha1\nkind: Widget\nmetadata: {name: s}\nspec:\n  opts: {y: "1"}\n'
    o.see("ssa-yaml-body", o.ask("PATCH", f"{path}?fieldManager=m9", body, APPLY).status)
    reset = o.merge(path, {"metadata": {"managedFields": [{}]}})
    o.see("mf-reset", [reset.status, reset.body["metadata"].get("managedFields")])
    o.see("ssa-after-mf-reset", owners(o.apply("s", "m1", {"color": "green"}).body))
