"""Deletion: finalizers, owners and their dependents, collections, namespaces."""

from __future__ import annotations

from tests.contract.observed.listing import five
from tests.contract.observed.observer import API_VERSION, Observer, config_map, said, widget

GHOST = "22222222-2222-2222-2222-222222222222"


def finalizers(o: Observer) -> None:
    o.post(o.widgets, widget("a"))
    path = f"{o.widgets}/a"
    o.merge(path, {"metadata": {"finalizers": ["x.io/1"]}})
    going = o.delete(path)
    metadata = going.body["metadata"]
    timed = metadata.get("deletionTimestamp") is not None
    seconds = metadata.get("deletionGracePeriodSeconds")
    o.see("finalizer-delete", [going.status, timed, seconds, going.body.get("kind")])
    again = o.delete(path)
    o.see("delete-again", [again.status, again.body["metadata"]["generation"] - metadata["generation"]])
    more = {"metadata": {"finalizers": ["x.io/1", "x.io/2"]}}
    o.see("add-finalizer-while-deleting", said(o.merge(path, more)))
    o.see("spec-while-deleting", o.merge(path, {"spec": {"color": "green"}}).status)
    o.see("create-while-deleting", said(o.post(o.widgets, widget("a"))))
    last = o.merge(path, {"metadata": {"finalizers": None}})
    o.see("finalizer-removed", [last.status, "deletionTimestamp" in last.body["metadata"], o.get(path).status])
    o.post(o.configmaps, config_map("p0"))
    o.see("delete-cm-body", said(o.delete(f"{o.configmaps}/p0")))
    o.see("delete-missing", said(o.delete(f"{o.configmaps}/p0")))


def dependents(o: Observer) -> None:
    def child(name: str, uid: str, owner: str, *, blocks: bool = False) -> None:
        reference = {"apiVersion": API_VERSION, "kind": "Widget", "name": owner, "uid": uid}
        if blocks:
            reference["blockOwnerDeletion"] = True  # type: ignore[assignment]
        body = config_map(name)
        body["metadata"]["ownerReferences"] = [reference]
        o.post(o.configmaps, body)

    kid, owner = f"{o.configmaps}/kid", f"{o.widgets}/own"
    for policy in ("Background", "Foreground", "Orphan", None):
        uid = o.post(o.widgets, widget("own")).body["metadata"]["uid"]
        child("kid", uid, "own", blocks=True)
        answer = o.delete(owner, {"propagationPolicy": policy} if policy else None)
        kept = answer.body.get("metadata", {}).get("finalizers")
        o.see(f"gc-{policy}", [answer.status, answer.body.get("kind"), kept])
        o.see(f"gc-{policy}-owner-gone", o.gone(owner))
        if policy == "Orphan":
            o.see(f"gc-{policy}-kid-gone", o.get(kid).status == 404)
            o.see(f"gc-{policy}-kid-refs", o.get(kid).body.get("metadata", {}).get("ownerReferences"))
            o.delete(kid)
        else:
            o.see(f"gc-{policy}-kid-gone", o.gone(kid))
            o.see(f"gc-{policy}-kid-refs", None)
    child("dangling", GHOST, "ghost")
    o.see("gc-dangling-owner", o.gone(f"{o.configmaps}/dangling"))
    five(o)
    for name in ("p0", "p2", "p4"):
        o.delete(f"{o.configmaps}/{name}")
    answer = o.delete(f"{o.configmaps}?labelSelector=e%3Dx")
    body = answer.body
    o.see("deletecollection", [answer.status, body.get("kind"), len(body.get("items", [])), body.get("status")])


def namespaces(o: Observer) -> None:
    path = f"/api/v1/namespaces/{o.namespace}"
    stuck = widget("sc")
    stuck["metadata"]["finalizers"] = ["x.io/1"]
    o.post(o.widgets, stuck)
    answer = o.delete(path)
    body = answer.body
    o.see("ns-delete", [answer.status, body.get("status"), body.get("spec"), "deletionTimestamp" in body["metadata"]])
    o.see("ns-create-in-terminating", said(o.post(o.configmaps, config_map("late"))))

    def conditions() -> list[tuple[str, ...]]:
        found = o.get(path).body.get("status", {}).get("conditions", [])
        return [(c["type"], c["status"], c["reason"], c["message"]) for c in found]

    o.until(lambda: any(c[0] == "NamespaceContentRemaining" and c[1] == "True" for c in conditions()), "its conditions")
    o.see("ns-conds", conditions())
    o.merge(f"{o.widgets}/sc", {"metadata": {"finalizers": None}})
    o.see("ns-gone", o.gone(path))
