"""What the test does by itself, by the API and alike on both servers: a kubelet's part, and waiting for a server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tests.contract.commands.scenario import Act
from tests.servers import MERGE, ApiServer

DEADLINE_S = 60.0
POD_IP = "198.18.0.1"
"""Of every pod: from the range for benchmarks, where nobody answers."""
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
Object = dict[str, Any]


def act(api: ApiServer, namespace: str, step: Act) -> None:
    """Do it. Raises AssertionError when what it waits for does not come about in a minute."""
    ACTS[step.name](api, namespace, *step.arguments)


def _until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, f"{what} did not come about"
        time.sleep(0.05)


def _namespace_ready(api: ApiServer, namespace: str, name: str = "") -> None:
    """On a real server, a new namespace gets what every one has a moment later."""
    account = f"/api/v1/namespaces/{name or namespace}/serviceaccounts/default"
    _until(lambda: api.request("GET", account).status == 200, account)


def _served(api: ApiServer, _: str, group: str, plural: str) -> None:
    """Wait until a CRD's kind is announced, described and served."""

    def announced() -> bool:
        listed = api.ok("GET", "/apis", accept=AGGREGATED)["items"]
        versions = [version for each in listed if each["metadata"]["name"] == group for version in each["versions"]]
        return any(each["resource"] == plural for version in versions for each in version["resources"])

    def described() -> bool:
        return any(path.startswith(f"apis/{group}/") for path in api.ok("GET", "/openapi/v3")["paths"])

    _until(lambda: announced() and described(), f"{plural}.{group}")


def _unserved(api: ApiServer, _: str, group: str) -> None:
    """Wait until nothing of a group is announced."""

    def announced() -> bool:
        listed = api.ok("GET", "/apis", accept=AGGREGATED)["items"]
        return any(each["metadata"]["name"] == group for each in listed)

    _until(lambda: not announced(), f"the end of {group}")


def _pods(api: ApiServer, namespace: str) -> list[Object]:
    return list(api.ok("GET", f"/api/v1/namespaces/{namespace}/pods")["items"])


def _roll_out(api: ApiServer, namespace: str, name: str) -> None:
    """As kubelets would: every pod runs and is ready, and so on until the Deployment has what it wants."""

    def complete() -> bool:
        for pod in _pods(api, namespace):
            # Not before the scheduler has had its word: it would come later, and in another place.
            if pod["status"]["phase"] == "Pending" and pod["status"].get("conditions"):
                api.request("PATCH", _status_path(pod), {"status": _running(pod)}, MERGE)
        deployment = api.ok("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
        status, wanted = deployment["status"], deployment["spec"]["replicas"]
        counts = {status.get(each) for each in ("replicas", "updatedReplicas", "availableReplicas", "readyReplicas")}
        return status.get("observedGeneration") == deployment["metadata"]["generation"] and counts == {wanted}

    _until(complete, f"a complete {name}")


def _end_pod(api: ApiServer, namespace: str, name: str) -> None:
    """As a kubelet would: the pod, once it is there, has run to its end."""
    _until(lambda: name in {pod["metadata"]["name"] for pod in _pods(api, namespace)}, f"pod {name}")
    pod = api.ok("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")
    api.ok("PATCH", _status_path(pod), {"status": {"phase": "Succeeded"}}, MERGE)


def _deployed(api: ApiServer, namespace: str, name: str) -> None:
    """As kubelets would, once a Deployment is there."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
    _until(lambda: api.request("GET", path).status == 200, name)
    _roll_out(api, namespace, name)


def _run(api: ApiServer, namespace: str, name: str) -> None:
    """As a kubelet would: the pod runs and is ready."""
    pod = api.ok("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")
    api.ok("PATCH", _status_path(pod), {"status": _running(pod)}, MERGE)


def _observed(api: ApiServer, namespace: str, name: str) -> None:
    """As the operator would, once a ModelDeployment is there: it has looked at it. kstatus waits for that."""
    path = f"/apis/insource.dev/v1alpha1/namespaces/{namespace}/modeldeployments/{name}"
    _until(lambda: api.request("GET", path).status == 200, name)
    generation = api.ok("GET", path)["metadata"]["generation"]
    api.ok("PATCH", f"{path}/status", {"status": {"observedGeneration": generation}}, MERGE)


def _event(api: ApiServer, namespace: str, kind: str, name: str, reason: str, level: str, *words: str) -> None:
    """As a controller would: an Event about one of the namespace's objects."""
    plural, group = {"Widget": ("widgets", "demo.insource.dev")}.get(kind, (f"{kind.lower()}s", "insource.dev"))
    about = api.ok("GET", f"/apis/{group}/v1alpha1/namespaces/{namespace}/{plural}/{name}")
    reference = {each: about[each] for each in ("apiVersion", "kind")}
    reference |= {each: about["metadata"][each] for each in ("name", "namespace", "uid")}
    body = {
        "metadata": {"name": f"{name}.{reason.lower()}"},
        "regarding": reference,
        "reason": reason,
        "note": " ".join(words),
        "type": level,
        "action": "Watching",
        "reportingController": "insource.dev/operator",
        "reportingInstance": "insource-0",
        "eventTime": about["metadata"]["creationTimestamp"].replace("Z", ".000000Z"),
    }
    api.ok("POST", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", body)


def _told(api: ApiServer, namespace: str, name: str, reason: str, number: str) -> None:
    """Wait until so many Events say that of an object: controllers tell them a moment after they have acted."""
    selector = quote(f"involvedObject.name={name},reason={reason}")
    where = f"/api/v1/namespaces/{namespace}/events?fieldSelector={selector}"
    _until(lambda: len(api.ok("GET", where)["items"]) >= int(number), f"{number} times {reason} of {name}")


def _field(api: ApiServer, namespace: str, group: str, version: str, plural: str, name: str, field: str) -> None:
    """Wait until a changed CRD is in force: an object of its kind keeps a new field, and the field is described."""
    where = f"/apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}?dryRun=All"

    def kept() -> bool:
        answer = api.request("PATCH", where, {"spec": {field: 1}}, MERGE)
        return answer.status == 200 and field in answer.body["spec"]

    def described() -> bool:
        # By way of the index, whose link redirects for as long as it is an old one.
        link = api.ok("GET", "/openapi/v3")["paths"][f"apis/{group}/{version}"]["serverRelativeURL"]
        answer = api.request("GET", link)
        return answer.status == 200 and f'"{field}"' in json.dumps(answer.body)

    _until(lambda: kept() and described(), f"{field} of {plural}")


def _there(api: ApiServer, namespace: str, path: str, plural: str, labels: str) -> None:
    """Wait for an object with a label, which a controller makes under a name that nobody knows before."""
    where = f"/{path}/namespaces/{namespace}/{plural}?labelSelector={quote(labels)}"
    _until(lambda: bool(api.ok("GET", where)["items"]), f"{plural} {labels}")


def _gone(api: ApiServer, namespace: str, path: str, what: str, labels: str = "") -> None:
    """Wait for the end of all objects with a label, or of a namespace."""
    if labels:
        where = f"/{path}/namespaces/{namespace}/{what}?labelSelector={quote(labels)}"
        _until(lambda: not api.ok("GET", where)["items"], f"the end of {what} {labels}")
    else:
        _until(lambda: api.request("GET", f"/{path}/{what}").status == 404, f"the end of {what}")


def _status_path(pod: Object) -> str:
    metadata = pod["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"


def _running(pod: Object) -> Object:
    since = pod["metadata"]["creationTimestamp"]
    ready = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
    kept = [each for each in pod["status"].get("conditions") or () if each["type"] not in ready]
    conditions = [{"type": each, "status": "True", "lastTransitionTime": since} for each in ready]
    containers = [
        {
            "name": each["name"],
            "image": each["image"],
            "imageID": "",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": since}},
        }
        for each in pod["spec"]["containers"]
    ]
    return {
        "phase": "Running",
        "podIP": POD_IP,
        "podIPs": [{"ip": POD_IP}],
        "startTime": since,
        "conditions": kept + conditions,
        "containerStatuses": containers,
    }


ACTS: dict[str, Callable[..., None]] = {
    "namespace-ready": _namespace_ready,
    "served": _served,
    "unserved": _unserved,
    "roll-out": _roll_out,
    "observed": _observed,
    "run": _run,
    "end-pod": _end_pod,
    "deployed": _deployed,
    "event": _event,
    "told": _told,
    "field": _field,
    "gone": _gone,
    "there": _there,
}
