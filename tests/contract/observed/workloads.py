"""A built-in kind with nested lists: Deployments; and the scale subresource of both sorts."""

from __future__ import annotations

from typing import Any

from tests.contract.observed.observer import API_VERSION, GROUP, Observer, owners, said, spec_of, widget
from tests.servers import APPLY, MERGE, Answer

_LABELS = {"matchLabels": {"a": "b"}}


def _containers(answer: Answer) -> list[Any]:
    body = answer.body
    return [answer.status, body["spec"]["template"]["spec"]["containers"] if answer.status < 300 else body]


def _env(**values: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def deployments(o: Observer) -> None:
    path = f"{o.deployments}/d"

    def apply(manager: str, containers: list[Any], *, force: bool = False, whole: bool = True) -> Answer:
        template: dict[str, Any] = {"spec": {"containers": containers}}
        spec: dict[str, Any] = {"template": template}
        if whole:
            spec["selector"] = _LABELS
            template["metadata"] = {"labels": {"a": "b"}}
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
        query = f"?fieldManager={manager}" + ("&force=true" if force else "")
        return o.ask("PATCH", path + query, body, APPLY)

    port = {"containerPort": 80}
    made = apply("m1", [{"name": "c", "image": "i:1", "env": _env(A="1", B="2"), "ports": [port]}])
    o.see("dep-ssa-create", [made.status, made.body["spec"], owners(made.body)])
    side = [{"name": "c", "env": _env(C="3")}, {"name": "side", "image": "s:1"}]
    o.see("dep-ssa-m2", _containers(apply("m2", side, whole=False)))
    ports = [port, {"containerPort": 80, "protocol": "UDP"}]
    dropped = apply("m1", [{"name": "c", "image": "i:1", "env": _env(B="2"), "ports": ports}])
    o.see("dep-ssa-env-drop", _containers(dropped))
    o.see("dep-ssa-conflict", said(apply("m2", [{"name": "c", "image": "i:2"}], whole=False)))
    forced = apply("m2", [{"name": "c", "image": "i:2"}], force=True, whole=False)
    o.see("dep-ssa-force (side dropped)", _containers(forced))
    o.see("dep-ssa-port-drop", _containers(apply("m1", [{"name": "c", "image": "i:2", "env": _env(B="2")}])))
    env = [{"name": "B", "$patch": "delete"}, {"name": "Z", "value": "9"}]
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "env": env}]}}}}
    o.see("smp-env", _containers(o.strategic(path, patch)))
    o.see("dep-selector-immutable", said(o.strategic(path, {"spec": {"selector": {"matchLabels": {"z": "z"}}}})))
    o.settled("d")
    o.see("dep-scale", said(o.merge(f"{path}/scale", {"spec": {"replicas": 4}})))
    o.see("dep-gen", o.get(path).body["metadata"]["generation"])
    noted = o.strategic(path, {"metadata": {"annotations": {"z": "z"}}})
    o.see("dep-gen-anno", noted.body["metadata"]["generation"])
    template = {"metadata": {"labels": {"a": "c"}}, "spec": {"containers": []}}
    bad = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "dbad"},
        "spec": {"replicas": -1, "selector": _LABELS, "template": template},
    }
    o.see("422-dep", said(o.post(o.deployments, bad)))


def scales(o: Observer) -> None:
    o.post(o.widgets, widget("a", replicas=3))
    o.merge(f"{o.widgets}/a/status", {"status": {"replicas": 4}})
    path = f"{o.widgets}/a/scale"
    seen = o.get(path)
    o.see("scale-get", said(seen))
    o.see("scale-patch", said(o.merge(path, {"spec": {"replicas": 4}})))
    sent = {**seen.body, "spec": {"replicas": 2}, "metadata": {"name": "a", "namespace": o.namespace}}
    o.see("scale-put", said(o.put(path, sent)))
    o.see("scale-cel", said(o.merge(path, {"spec": {"replicas": 40}})))


def hand_over(o: Observer) -> None:
    """Beyond the research: `spec.replicas` from its applier to an autoscaler, by /scale, and back."""
    path = f"{o.widgets}/w"

    def apply(force: bool = False, **spec: Any) -> Answer:
        return o.apply("w", "team", {"color": "red", **spec}, force=force)

    apply(replicas=2)
    scaled = o.ask("PATCH", f"{path}/scale?fieldManager=hpa", {"spec": {"replicas": 4}}, MERGE)
    o.see("hand-over-scaled", [scaled.status, scaled.body.get("spec")])
    o.see("hand-over-owners", owners(o.get(path).body))
    o.see("hand-over-conflict", said(apply(replicas=2)))
    left = apply()
    o.see("hand-over-left-alone", [*spec_of(left), owners(left.body)])
    back = apply(replicas=2, force=True)
    o.see("hand-back-by-force", [*spec_of(back), owners(back.body)])
    put = o.get(f"{path}/scale").body
    put["spec"]["replicas"] = 5
    o.see("hand-over-by-put", [o.ask("PUT", f"{path}/scale?fieldManager=hpa", put).status, owners(o.get(path).body)])
    stale = {**put, "metadata": {**put["metadata"], "resourceVersion": "1"}}
    o.see("scale-stale", said(o.put(f"{path}/scale", stale)))
    o.see("scale-negative", said(o.merge(f"{path}/scale", {"spec": {"replicas": -1}})))
    o.see("scale-typed", o.merge(f"{path}/scale", {"spec": {"replicas": "x"}}).status)
    o.see("scale-missing", said(o.get(f"{o.widgets}/none/scale")))
    applied = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "w"}, "spec": {"replicas": 3}}
    by_apply = o.ask("PATCH", f"{path}/scale?fieldManager=keda&force=true", applied, APPLY)
    o.see("scale-apply", [by_apply.status, by_apply.body.get("spec", by_apply.body)])
    o.see("scale-apply-owners", owners(o.get(path).body))


def without_replicas(o: Observer) -> None:
    """A kind whose `spec.replicas` has no default: then /scale is an error until somebody sets it."""
    plural = "doodads"
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    o.post(crds, _doodads(plural))
    things = f"/apis/{API_VERSION}/namespaces/{o.namespace}/{plural}"
    o.until(lambda: o.get(things).status == 200, "Doodads")
    o.post(things, {"apiVersion": API_VERSION, "kind": "Doodad", "metadata": {"name": "d"}, "spec": {"color": "red"}})
    path = f"{things}/d/scale"
    o.see("scale-without-replicas", said(o.get(path)))
    set_ = o.merge(path, {"spec": {"replicas": 2}})
    o.see("scale-without-replicas-patch", said(set_))
    body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d", "namespace": o.namespace}}
    o.see("scale-without-replicas-put", said(o.put(path, {**body, "spec": {"replicas": 2}})))
    o.see("scale-without-replicas-after", spec_of(o.get(f"{things}/d")))
    o.delete(f"{crds}/{plural}.{GROUP}")


def _doodads(plural: str) -> dict[str, Any]:
    spec = {
        "type": "object",
        "properties": {"color": {"type": "string"}, "replicas": {"type": "integer", "minimum": 0}},
    }
    status = {"type": "object", "properties": {"replicas": {"type": "integer"}}}
    version = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
    }
    names = {"kind": "Doodad", "plural": plural, "singular": "doodad"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }
