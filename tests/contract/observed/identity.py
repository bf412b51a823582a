"""Names, versions, generations, and what PUT, POST and PATCH say to bodies that do not fit."""

from __future__ import annotations

import copy
import re

from tests.contract.observed.observer import API_VERSION, Observer, owners, said, widget
from tests.servers import JSON_PATCH, STRATEGIC

OTHER_UID = "11111111-1111-1111-1111-111111111111"


def versions(o: Observer) -> None:
    made = o.post(o.widgets, widget("a"))
    o.see("create", said(made))
    first = made.body["metadata"]["resourceVersion"]
    path = f"{o.widgets}/a"
    o.see("get-same-rv", o.get(path).body["metadata"]["resourceVersion"] == first)
    listed = o.get(o.widgets)
    keys = {k: (v if k != "items" else [sorted(item) for item in v]) for k, v in listed.body.items()}
    o.see("list", [listed.status, keys])
    o.see("list-rv-ge-obj", int(listed.body["metadata"]["resourceVersion"]) >= int(first))
    o.see("create-dup", said(o.post(o.widgets, widget("a"))))
    o.see("gen-label", o.merge(path, {"metadata": {"labels": {"l": "1"}}}).body["metadata"]["generation"])
    changed = o.merge(path, {"spec": {"replicas": 2}}).body["metadata"]
    o.see("gen-spec", changed["generation"])
    again = o.merge(path, {"spec": {"replicas": 2}}).body["metadata"]
    o.see("noop-same-rv", again["resourceVersion"] == changed["resourceVersion"])
    obj = o.merge(path, {"spec": {"replicas": 3}, "status": {"replicas": 9}}).body
    o.see("status-on-main-ignored", [obj["metadata"]["generation"], obj.get("status")])
    both = {
        "spec": {"replicas": 1},
        "metadata": {"labels": {"via": "status"}, "annotations": {"x": "y"}},
        "status": {"replicas": 9},
    }
    obj = o.merge(f"{path}/status", both).body
    metadata = obj["metadata"]
    o.see(
        "spec-on-status-ignored",
        [metadata["generation"], obj["spec"], obj.get("status"), metadata.get("labels"), metadata.get("annotations")],
    )
    o.see("mf-status", owners(obj))


def replacing(o: Observer) -> None:
    o.post(o.widgets, widget("a", replicas=3))
    path = f"{o.widgets}/a"
    o.merge(path, {"spec": {"replicas": 2}})
    o.merge(path, {"spec": {"replicas": 3}})
    sent = copy.deepcopy(o.get(path).body)
    sent["metadata"]["finalizers"] = ["x.io/s"]
    sent["status"] = {"replicas": 4}
    sent["spec"]["color"] = "blue"
    put = o.put(f"{path}/status", sent)
    obj = put.body
    metadata = obj["metadata"]
    o.see(
        "put-status",
        [put.status, obj["spec"], obj.get("status"), metadata.get("finalizers"), metadata["generation"]],
    )
    o.see("stale-put-409", said(o.put(path, sent)))
    o.see("stale-patch-409", said(o.merge(path, {"metadata": {"resourceVersion": "1"}, "spec": {"color": "blue"}})))
    del sent["metadata"]["resourceVersion"], sent["metadata"]["finalizers"]
    o.see("put-without-rv", said(o.put(path, sent)))
    sent["metadata"]["uid"] = OTHER_UID
    o.see("put-wrong-uid", said(o.put(path, sent)))
    o.see("put-name-mismatch", said(o.put(path, widget("b"))))
    o.see("put-missing", said(o.put(f"{o.widgets}/nope", widget("nope"))))
    o.see("put-rv0", said(o.put(path, {**widget("a"), "metadata": {"name": "a", "resourceVersion": "0"}})))
    versioned = {**widget("rvx"), "metadata": {"name": "rvx", "resourceVersion": "5"}}
    o.see("create-with-rv", said(o.post(o.widgets, versioned)))
    o.see("delete-uid-precond", said(o.delete(path, {"preconditions": {"uid": OTHER_UID}})))
    o.see("delete-rv-precond", said(o.delete(path, {"preconditions": {"resourceVersion": "1"}})))
    o.see("patch-missing", said(o.merge(f"{o.widgets}/nope", {"spec": {}})))


def misfits(o: Observer) -> None:
    o.post(o.widgets, widget("a"))
    o.see("bad-json", [o.post(o.widgets, "{nope").status])
    o.see("wrong-kind", said(o.post(o.widgets, {**widget("k"), "kind": "Gadget"})))
    o.see("wrong-apiversion", said(o.post(o.widgets, {**widget("k"), "apiVersion": "demo.insource.dev/v1"})))
    o.see("wrong-ns", said(o.post(o.widgets, {**widget("k"), "metadata": {"name": "k", "namespace": "other"}})))
    nowhere = f"/apis/{API_VERSION}/namespaces/nons/widgets"
    o.see("no-such-ns", said(o.post(nowhere, widget("k"))))
    o.see("list-in-missing-ns", o.get(nowhere).status)
    o.see("unknown-resource", said(o.get(o.widgets.replace("widgets", "gadgets"))))
    o.see("unknown-group", said(o.get("/apis/nope.io/v1/x")))
    o.see("method-not-allowed", said(o.post(f"{o.widgets}/a", widget("a"))))
    o.see("post-collection-put", said(o.put(o.widgets, widget("a"))))
    o.see("bad-name", said(o.post(o.widgets, widget("Bad_Name"))))
    o.see("no-name", said(o.post(o.widgets, {**widget("x"), "metadata": {}})))
    made = o.post(o.widgets, {**widget("x"), "metadata": {"generateName": "gen-"}})
    metadata = made.body["metadata"]
    name = re.sub(r"gen-[a-z0-9]{5}$", "gen-XXXXX", metadata["name"])
    o.see("generateName", [made.status, name, metadata.get("generateName")])


def patching(o: Observer) -> None:
    path = f"{o.widgets}/sc"
    o.see("status-in-create", o.post(o.widgets, {**widget("sc"), "status": {"replicas": 3}}).body.get("status"))
    added = o.merge(path, {"spec": {"note": "x"}}).status
    o.see("transition-cel", [added, *said(o.merge(path, {"spec": {"note": None}}))])
    failing = [{"op": "test", "path": "/spec/note", "value": "zzz"}]
    o.see("json-patch-test-fail", said(o.ask("PATCH", path, failing, JSON_PATCH)))
    missing = [{"op": "remove", "path": "/spec/nope"}]
    o.see("json-patch-missing-path", said(o.ask("PATCH", path, missing, JSON_PATCH)))
    o.see("smp-on-cr", said(o.ask("PATCH", path, {"spec": {}}, STRATEGIC)))
    o.see("immutable-name", said(o.merge(path, {"metadata": {"name": "zz"}})))
    o.see("immutable-uid", said(o.merge(path, {"metadata": {"uid": "zz"}})))
    own = o.merge(path, {"metadata": {"creationTimestamp": None, "generation": 77}})
    o.see("ct-change", own.body["metadata"].get("generation"))
