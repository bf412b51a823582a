"""A built-in kind with nested lists: Deployments; and the scale subresource of both sorts."""

from __future__ import annotations

from typing import Any

from tests.contract.observed.observer import Observer, owners, said, widget
from tests.servers import APPLY, Answer

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
