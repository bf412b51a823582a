"""EndpointSlices: where the pods behind each Service are. `slices_for` is pure; the controller keeps the store so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from insource.local.control_loop import Key
from insource.local.objects import (
    ENDPOINT_SLICES,
    PODS,
    SERVICES,
    Object,
    is_over,
    is_ready,
    is_terminating,
    matches,
    owner_reference,
)
from insource.local.store import Store
from insource.local.store_kinds import ResourceKind

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
MANAGER = "kube-controller-manager"


class EndpointSliceController:
    """Service with a selector -> EndpointSlices."""

    name = "endpointslice"

    def __init__(self, store: Store) -> None:
        self._store = store

    def keys(self, kind: ResourceKind, held: Object) -> Iterable[Key]:
        metadata = held["metadata"]
        if kind.ref == SERVICES:
            yield metadata["namespace"], metadata["name"]
        elif kind.ref == ENDPOINT_SLICES and (service := (metadata.get("labels") or {}).get(SERVICE_NAME)):
            yield metadata["namespace"], service
        elif kind.ref == PODS:
            # Note: a pod whose labels changed may have left a Service that no longer selects it: ask them all.
            for service in self._store.list(SERVICES, metadata["namespace"]).items:
                yield metadata["namespace"], service["metadata"]["name"]

    def reconcile(self, key: Key) -> float | None:
        service = self._store.find(SERVICES, *key)
        if service is None or is_terminating(service):
            return None
        selector = service["spec"].get("selector")
        if not selector:
            return None
        pods = [
            pod
            for pod in self._store.list(PODS, key[0]).items
            if matches(selector, pod["metadata"].get("labels")) and (pod.get("status") or {}).get("podIP")
        ]
        wanted = {held["metadata"]["name"]: held for held in slices_for(service, [p for p in pods if not is_over(p)])}
        present = self._store.list(
            ENDPOINT_SLICES, key[0], label_selector=f"{SERVICE_NAME}={key[1]},{MANAGED_BY}={CONTROLLER}"
        ).items
        for held in present:
            name = held["metadata"]["name"]
            desired = wanted.pop(name, None)
            if desired is None:
                self._store.delete(ENDPOINT_SLICES, key[0], name)
            elif _differs(desired, held):
                metadata = {**held["metadata"], "labels": desired["metadata"]["labels"]}
                self._store.update(
                    ENDPOINT_SLICES, key[0], name, {**desired, "metadata": metadata}, field_manager=MANAGER
                )
        for desired in wanted.values():
            self._store.create(ENDPOINT_SLICES, desired, key[0], field_manager=MANAGER)
        return None


def _differs(desired: Object, held: Object) -> bool:
    if desired["metadata"]["labels"] != held["metadata"].get("labels"):
        return True
    return any(desired[part] != (held.get(part) or []) for part in ("ports", "endpoints"))


def slices_for(service: Object, pods: Sequence[Object]) -> list[Object]:
    """One slice per set of port numbers (named target ports may differ between pods); endpoints in order of pod name.

    The same Service and pods always give the same slices, names included.
    """
    metadata, spec = service["metadata"], service["spec"]
    groups: dict[tuple[tuple[str, int, str, str], ...], list[Object]] = {}
    for pod in sorted(pods, key=lambda held: held["metadata"]["name"]):
        groups.setdefault(_ports(spec, pod), []).append(pod)
    if not groups:
        # As the real one does: a Service without pods still has a slice, which says so.
        groups = {(): []}
    labels = dict(metadata.get("labels") or {}) | {SERVICE_NAME: metadata["name"], MANAGED_BY: CONTROLLER}
    if spec.get("clusterIP") == "None":
        labels["service.kubernetes.io/headless"] = ""
    return [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{metadata['name'][:57]}-{_digest(metadata['uid'], number)}",
                "namespace": metadata["namespace"],
                "labels": labels,
                "ownerReferences": [owner_reference(service)],
            },
            "addressType": "IPv4",
            "ports": [_port(*port) for port in ports],
            "endpoints": [_endpoint(service, pod) for pod in members],
        }
        for number, (ports, members) in enumerate(sorted(groups.items(), key=lambda item: item[0]))
    ]


def _digest(uid: str, number: int) -> str:
    # By number, not by content: the only slice of most Services keeps its name while pods come and go.
    return hashlib.sha256(f"{uid} {number}".encode()).hexdigest()[:5]


def _ports(spec: Object, pod: Object) -> tuple[tuple[str, int, str, str], ...]:
    found = []
    for port in spec.get("ports") or ():
        number = _target(port, pod)
        if number is not None:
            found.append((port.get("name") or "", number, port.get("protocol") or "TCP", port.get("appProtocol") or ""))
    return tuple(found)


def _target(port: Object, pod: Object) -> int | None:
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    every = [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())]
    for container in every:
        for declared in container.get("ports") or ():
            if declared.get("name") == target:
                return int(declared["containerPort"])
    return None


def _port(name: str, number: int, protocol: str, application: str) -> Object:
    port: Object = {"name": name, "port": number, "protocol": protocol}
    return port | ({"appProtocol": application} if application else {})


def _endpoint(service: Object, pod: Object) -> Object:
    serving = is_ready(pod)
    terminating = is_terminating(pod)
    ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating)
    metadata = pod["metadata"]
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "nodeName": pod["spec"].get("nodeName"),
        "targetRef": {
            "kind": "Pod",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }
