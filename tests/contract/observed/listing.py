"""Lists in pages, selectors, versions that are ahead, and the shapes a client may ask for."""

from __future__ import annotations

from typing import Any

from tests.contract.observed.observer import TABLE, Observer, config_map, quoted, said, widget

SELECTORS = ("i in (1,2)", "i notin (1,2),e", "!i", "i!=1,e=x", "i,e==x", "i>0,i<3")
BAD_SELECTORS = (
    "a in b", "a in (b", ",a", "a,,b", "a=b,", "!", "a b", "(", "a in (b c)", "a notin", "a>", "a>x", "a!", "=b",
    "a=b=c", "!a=b", "-a", "a=-b", "a in (b),", "a='b'", "a/b/c=d",
)  # fmt: skip
BAD_QUERIES = (
    "resourceVersion=0&resourceVersionMatch=Exact",
    "resourceVersion=5&resourceVersionMatch=Foo",
    "resourceVersion=abc",
    "resourceVersion=abc&watch=1",
    "resourceVersion=5&resourceVersionMatch=Exact&watch=1",
    "limit=abc",
    "timeoutSeconds=x&watch=1",
    "sendInitialEvents=true",
    "continue=abc&resourceVersion=5&resourceVersionMatch=Exact",
)
_OURS = "labelSelector=e%3Dx"


def five(o: Observer) -> None:
    """Five labelled ConfigMaps."""
    for i in range(5):
        body = config_map(f"p{i}")
        body["metadata"]["labels"] = {"i": str(i), "e": "x"}
        o.post(o.configmaps, body)


def _names(body: Any) -> list[str]:
    return [item["metadata"]["name"] for item in body.get("items", [])]


def pages(o: Observer) -> None:
    five(o)
    first = o.get(f"{o.configmaps}?limit=2&{_OURS}")
    metadata = first.body["metadata"]
    token = metadata.get("continue")
    o.see("limit-sel", [first.status, _names(first.body), bool(token), "remainingItemCount" in metadata])
    o.delete(f"{o.configmaps}/p4")
    second = o.get(f"{o.configmaps}?limit=2&{_OURS}&continue={quoted(token or '')}")
    later = second.body["metadata"]
    same = later["resourceVersion"] == metadata["resourceVersion"]
    o.see("continue", [second.status, _names(second.body), same, bool(later.get("continue"))])
    third = o.get(f"{o.configmaps}?limit=2&{_OURS}&continue={quoted(later.get('continue') or '')}")
    o.see("continue-snapshot (p4 deleted)", [third.status, _names(third.body)])
    # Of a kind that no controller adds to: a namespace's ConfigMaps include one of the cluster's own.
    for i in range(5):
        o.post(o.secrets, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"s{i}"}})
    o.see("limit-remaining", o.get(f"{o.secrets}?limit=2").body["metadata"].get("remainingItemCount"))
    o.see("continue-bad", said(o.get(f"{o.configmaps}?limit=2&continue=abc")))


def selectors(o: Observer) -> None:
    five(o)
    o.post(o.configmaps, config_map("c0"))
    o.delete(f"{o.configmaps}/p4")
    for selector in SELECTORS:
        answer = o.get(f"{o.configmaps}?labelSelector={quoted(selector)}")
        names = sorted(name for name in _names(answer.body) if name != "kube-root-ca.crt")
        o.see(f"sel {selector}", [answer.status, names if answer.status == 200 else answer.body])
    o.see("sel-bad", said(o.get(f"{o.configmaps}?labelSelector={quoted('a=(b')}")))
    o.see("fs-bad", said(o.get(f"{o.configmaps}?fieldSelector=data.a%3Db")))
    o.see("fs-name", len(o.get(f"{o.configmaps}?fieldSelector=metadata.name%3Dp1").body["items"]))
    o.post(o.widgets, widget("blue", color="blue"))
    not_red = f"spec.color!%3Dred,metadata.namespace%3D{o.namespace}"
    o.see("fs-ne", len(o.get(f"{o.widgets}?fieldSelector={not_red}").body["items"]) > 0)
    o.see("future-rv", said(o.get(f"{o.configmaps}?resourceVersion=999999999")))
    o.see("rvmatch-exact-missing", said(o.get(f"{o.configmaps}?resourceVersionMatch=Exact")))
    o.see("get-future-rv", o.get(f"{o.configmaps}/p1?resourceVersion=999999999").status)


def odd_queries(o: Observer) -> None:
    """Options that cannot be read, or do not go together; beyond those of the research."""
    for selector in BAD_SELECTORS:
        o.see(f"sel-bad {selector}", said(o.get(f"{o.configmaps}?labelSelector={quoted(selector)}")))
    for query in BAD_QUERIES:
        o.see(f"query-bad {query}", said(o.get(f"{o.configmaps}?{query}")))
    made = o.post(o.secrets, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
    then = made.body["metadata"]["resourceVersion"]
    o.delete(f"{o.secrets}/s")
    exact = o.get(f"{o.secrets}?resourceVersion={then}&resourceVersionMatch=Exact")
    version = exact.body["metadata"]["resourceVersion"]
    o.see("rvmatch-exact-before-a-deletion", [exact.status, _names(exact.body), version == then])
    limited = o.get(f"{o.secrets}?resourceVersion={then}&limit=5")
    o.see("limit-with-rv-is-exact", [limited.status, _names(limited.body)])
    later = o.get(f"{o.secrets}?resourceVersion={then}&resourceVersionMatch=NotOlderThan")
    o.see("rvmatch-not-older", [later.status, _names(later.body)])


def shapes(o: Observer) -> None:
    o.post(o.widgets, widget("a", replicas=3))
    o.merge(f"{o.widgets}/a/status", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    o.post(o.configmaps, config_map("p1", data={"k": "v"}))
    o.post(o.secrets, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "stringData": {"a": "b"}})
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    o.post(o.deployments, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
    o.settled("d")
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    paths = {
        "wd": f"{o.widgets}/a",
        "cm": f"{o.configmaps}/p1",
        "dep": f"{o.deployments}/d",
        "sec": f"{o.secrets}/x",
        "ns": f"/api/v1/namespaces/{o.namespace}",
        "crd": f"{crds}/widgets.demo.insource.dev",
    }
    for name, path in paths.items():
        answer = o.get(path, accept=TABLE)
        columns = [(c["name"], c["type"], c["format"], c["priority"]) for c in answer.body.get("columnDefinitions", [])]
        rows = [
            [row["cells"], row["object"].get("kind"), row["object"].get("apiVersion"), sorted(row["object"])]
            for row in answer.body.get("rows", [])
        ]
        o.see(f"table-{name}", [answer.status, answer.headers.get("Content-Type"), columns, rows])
    for include in ("None", "Metadata", "Object"):
        rows = o.get(f"{o.configmaps}?limit=1&includeObject={include}", accept=TABLE).body["rows"]
        o.see(f"table-include-{include}", [row["object"] and row["object"].get("kind") for row in rows])
    partial = "application/json;as=PartialObjectMetadata{};v=v1;g=meta.k8s.io"
    o.see("partialmeta", said(o.get(f"{o.configmaps}/p1", accept=partial.format(""))))
    listed = o.get(f"{o.configmaps}?limit=1", accept=partial.format("List"))
    o.see("partialmeta-list", [listed.status, listed.body.get("kind"), listed.body["items"][0].get("kind")])
    o.see("accept-unknown", said(o.get(o.configmaps, accept="text/html")))
    written = o.get(f"{o.configmaps}/p1", accept="application/yaml")
    o.see("accept-yaml", [written.headers.get("Content-Type")])
    o.see("accept-pb-only", said(o.get(o.widgets, accept="application/vnd.kubernetes.protobuf")))
