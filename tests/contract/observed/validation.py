"""Schema, CEL, defaults, pruning, and the three ways of field validation."""

from __future__ import annotations

from typing import Any

from tests.contract.observed.observer import API_VERSION, Observer, said, spec_of, widget
from tests.servers import APPLY, MERGE

BAD: dict[str, dict[str, Any]] = {
    "enum": {"color": "pink"},
    "type": {"replicas": "x"},
    "min": {"replicas": -1},
    "cel": {"replicas": 9},
    "cel+schema": {"replicas": 9, "note": "x" * 30},
    "maxlen": {"note": "x" * 30},
    "pattern": {"name": "A1"},
    "dupset": {"tags": ["a", "a"]},
    "dupmap": {"ports": [{"port": 1}, {"port": 1}]},
    "maptype": {"opts": {"a": 1}},
    "arr": {"tags": "x"},
    "missingport": {"ports": [{"label": "x"}]},
}


LEASE_CHANGES: dict[str, dict[str, Any]] = {
    "given-up": {"holderIdentity": "", "leaseDurationSeconds": 1},
    "no-duration": {"leaseDurationSeconds": 0},
    "negative": {"leaseDurationSeconds": -1, "leaseTransitions": -1},
    "renewed": {"renewTime": "2026-11-24T12:00:00.123456Z"},
    "whole-seconds": {"renewTime": "2026-11-24T12:00:00Z"},
    "milliseconds": {"renewTime": "2026-11-24T12:00:00.123Z"},
}


def refusals(o: Observer) -> None:
    for name, spec in BAD.items():
        o.see(f"422-{name}", said(o.post(o.widgets, widget("bad", **spec))))
    bare = widget("bad")
    del bare["spec"]["color"]
    o.see("422-required", said(o.post(o.widgets, bare)))
    del bare["spec"]
    o.see("422-nospec", said(o.post(o.widgets, bare)))
    o.see("422-null", said(o.post(o.widgets, widget("bad", color=None))))
    o.see("null-dropped", spec_of(o.post(o.widgets, widget("nul", note=None, replicas=None))))


def unknown_fields(o: Observer) -> None:
    path = f"{o.widgets}/fv"
    loose = o.post(o.widgets, widget("def", tmpl={}, free={"z": {"q": 1}}, bogus=1))
    warning = loose.warnings[0] if loose.warnings else None
    o.see("default+prune (no fieldValidation)", [loose.status, loose.body["spec"], warning])
    unknown = widget("fv", bogus=1, ports=[{"port": 1, "zz": 2}])
    strict = o.post(f"{o.widgets}?fieldValidation=Strict", unknown)
    o.see("fv-strict", [*said(strict), strict.warnings[0] if strict.warnings else None])
    warned = o.post(f"{o.widgets}?fieldValidation=Warn", unknown)
    o.see("fv-warn", [warned.status, warned.body["spec"], warned.warnings])
    ignored = o.ask("PATCH", f"{path}?fieldValidation=Ignore", {"spec": {"bogus": 1}}, MERGE).status
    o.see("fv-ignore", [ignored, o.get(path).body["spec"].get("bogus")])
    o.see("fv-strict-patch", said(o.ask("PATCH", f"{path}?fieldValidation=Strict", {"spec": {"bogus": 1}}, MERGE)))
    body = {"apiVersion": API_VERSION, "kind": "Widget", "spec": {"bogus": 1}}
    o.see("ssa-no-fm", said(o.ask("PATCH", path, body, APPLY)))
    named = {**body, "metadata": {"name": "fv"}}
    o.see("ssa-unknown-field", said(o.ask("PATCH", f"{path}?fieldManager=q&fieldValidation=Strict", named, APPLY)))
    loosely = {**named, "spec": {"bogus": 1, "color": "red"}}
    o.see("ssa-unknown-field-nostrict", said(o.ask("PATCH", f"{path}?fieldManager=q", loosely, APPLY)))
    twice = (
        '{"apiVersion":"demo.insource.dev/v1alpha1","kind":"Widget","metadata":{"name":"dk"},'
        '"spec":{"color":"red","color":"blue"}}'
    )
    o.see("dup-key-yaml", said(o.post(f"{o.widgets}?fieldValidation=Strict", twice)))


def dry_runs(o: Observer) -> None:
    o.post(o.widgets, widget("a"))
    path = f"{o.widgets}/a"
    dry = o.post(f"{o.widgets}?dryRun=All", widget("dry"))
    metadata = dry.body["metadata"]
    kept = o.get(f"{o.widgets}/dry").status
    o.see("dryrun-create", [dry.status, metadata.get("resourceVersion"), bool(metadata.get("uid")), kept])
    o.see("dryrun-del", [o.delete(f"{path}?dryRun=All").status, o.get(path).status])
    o.see("dryrun-bad", said(o.post(f"{o.widgets}?dryRun=x", widget("dry"))))
    before = o.get(path).body["metadata"]
    after = o.merge(f"{path}?dryRun=All", {"spec": {"color": "blue"}}).body
    same = after["metadata"]["resourceVersion"] == before["resourceVersion"]
    o.see("dryrun-patch", [after["spec"]["color"], same, after["metadata"]["generation"] - before["generation"]])


def built_in(o: Observer) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}
    made = o.post(o.secrets, {**secret, "stringData": {"a": "b"}})
    body = made.body
    o.see("secret-stringData", [made.status, body.get("data"), body.get("stringData"), body.get("type")])
    broken = {**secret, "metadata": {"name": "y"}, "data": {"a": "%%"}}
    o.see("secret-badb64", said(o.post(o.secrets, broken)))
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c0"}, "data": {"a": "b"}}
    made = o.post(o.configmaps, {**config, "bogus": 1})
    warning = made.warnings[0] if made.warnings else None
    o.see("builtin-unknown-warn", [made.status, made.body.get("bogus"), warning])
    o.see("cm-no-generation", made.body["metadata"].get("generation"))
    number = {**config, "metadata": {"name": "c1"}, "data": {"a": 1}}
    o.see("cm-422", said(o.post(f"{o.configmaps}?fieldValidation=Strict", number)))


def leases(o: Observer) -> None:
    """Beyond the research: what the elector relies on."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{o.namespace}/leases"
    made = o.post(path, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 6}})
    o.see("lease-create", spec_of(made))
    for name, spec in LEASE_CHANGES.items():
        answer = o.merge(f"{path}/l", {"spec": spec})
        # A patch that cannot be decoded quotes the whole object, fields in Go's order: only what follows is compared.
        _, told, why = answer.body.get("message", "").rpartition("parsing time ")
        o.see(f"lease-{name}", [answer.status, told + why] if told else spec_of(answer))
    stale = {"metadata": {"resourceVersion": made.body["metadata"]["resourceVersion"]}, "spec": {"holderIdentity": "b"}}
    o.see("lease-stale-holder", said(o.merge(f"{path}/l", stale)))
