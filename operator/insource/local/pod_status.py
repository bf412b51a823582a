"""A pod's status as the kubelet would write it, from the state of its containers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from insource.local.objects import timestamp
from insource.local.pod_lifecycle import Container, Kind, Phase, Termination, finished, initialized


def pod_status(
    pod: Mapping[str, Any],
    containers: Sequence[Container],
    *,
    pod_ip: str,
    host_ip: str,
    now_s: float,
    now: datetime,
    message: str = "",
    reason: str = "",
) -> dict[str, Any]:
    """The whole `status`; condition times are kept from the pod's present status where nothing changed.

    `reason` and `message` say why the pod as a whole cannot run, if so.
    """
    before = pod.get("status") or {}
    specs = {spec["name"]: spec for part in ("initContainers", "containers") for spec in pod["spec"].get(part) or ()}
    mains = [container for container in containers if container.kind is Kind.MAIN]
    inits = [container for container in containers if container.kind is not Kind.MAIN]
    is_initialized = initialized(containers)
    phase = _phase(mains, containers)
    status: dict[str, Any] = {
        "phase": phase,
        "conditions": _conditions(pod, containers, is_initialized, phase, timestamp(now)),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "podIP": pod_ip,
        "podIPs": [{"ip": pod_ip}],
        "startTime": before.get("startTime") or timestamp(now),
        "qosClass": before.get("qosClass") or _quality(pod["spec"]),
    }
    if not pod_ip:
        del status["podIP"], status["podIPs"]
    if reason:
        status["reason"] = reason
        status["message"] = message
    if inits:
        status["initContainerStatuses"] = [
            _container_status(pod, specs[c.name], c, is_initialized=is_initialized, now_s=now_s) for c in inits
        ]
    status["containerStatuses"] = [
        _container_status(pod, specs[c.name], c, is_initialized=is_initialized, now_s=now_s) for c in mains
    ]
    return status


def _phase(mains: Sequence[Container], containers: Sequence[Container]) -> str:
    if finished(containers) and not any(container.running for container in mains):
        if all(main.ended is not None and main.ended.exit_code == 0 for main in mains):
            return "Succeeded"
        return "Failed"
    return "Running" if any(main.runs for main in mains) else "Pending"


def _conditions(
    pod: Mapping[str, Any], containers: Sequence[Container], is_initialized: bool, phase: str, now: str
) -> list[dict[str, Any]]:
    generation = pod["metadata"].get("generation")
    held = {condition["type"]: condition for condition in (pod.get("status") or {}).get("conditions") or ()}
    lasting = [container for container in containers if container.kind is not Kind.INIT]
    unready = [container.name for container in lasting if not container.ready]
    incomplete = [c.name for c in containers if c.kind is not Kind.MAIN and not (c.has_started or c.done)]
    if phase in ("Succeeded", "Failed"):
        reason = "PodCompleted" if phase == "Succeeded" else "PodFailed"
        ready: tuple[str, str, str] = ("False", reason, "")
    elif unready:
        ready = ("False", "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    else:
        ready = ("True", "", "")
    start = ("True", "", "")
    if not is_initialized:
        start = ("False", "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]")
    wanted = {
        "PodReadyToStartContainers": ("True", "", ""),
        "Initialized": start,
        "Ready": ready,
        "ContainersReady": ready,
        "PodScheduled": ("True", "", ""),
    }
    conditions = []
    for kind, (state, reason, message) in wanted.items():
        old = held.pop(kind, {})
        condition: dict[str, Any] = {
            "type": kind,
            "status": state,
            "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == state else now,
        }
        if reason:
            condition |= {"reason": reason}
        if message:
            condition |= {"message": message}
        if generation is not None:
            condition |= {"observedGeneration": generation}
        conditions.append(condition)
    return [*conditions, *held.values()]


def _container_status(
    pod: Mapping[str, Any], spec: Mapping[str, Any], container: Container, *, is_initialized: bool, now_s: float
) -> dict[str, Any]:
    identity = f"insource://{pod['metadata']['uid']}/{container.name}/{container.runs}" if container.runs else ""
    last = container.last
    if container.phase is Phase.TERMINATED and container.restarts_now and container.ended is not None:
        last = container.ended
    ready = container.ready
    if container.kind is Kind.INIT:
        ready = container.ended is not None and container.ended.exit_code == 0
    return {
        "name": container.name,
        "image": spec["image"],
        "imageID": "",
        "containerID": identity,
        "ready": ready,
        "started": container.has_started,
        "restartCount": container.restarts,
        "state": _state(container, pod["metadata"]["name"], is_initialized=is_initialized, now_s=now_s),
        "lastState": {"terminated": _terminated(last, identity)} if last is not None else {},
    }


def _state(container: Container, pod_name: str, *, is_initialized: bool, now_s: float) -> dict[str, Any]:
    if container.phase is Phase.RUNNING and container.started_at is not None:
        return {"running": {"startedAt": timestamp(container.started_at)}}
    if container.phase is Phase.TERMINATED and container.ended is not None:
        if container.restarts_now and container.retry_at_s > now_s:
            # The pause left would make each status differ from the one before, so it is not told.
            message = f"back-off restarting failed container={container.name} pod={pod_name}"
            return {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        return {"terminated": _terminated(container.ended, "")}
    waiting: dict[str, Any] = {
        "reason": container.reason
        or ("PodInitializing" if container.kind is not Kind.SIDECAR and not is_initialized else "ContainerCreating")
    }
    if container.message:
        waiting["message"] = container.message
    return {"waiting": waiting}


def _terminated(ended: Termination, identity: str) -> dict[str, Any]:
    state: dict[str, Any] = {
        "exitCode": ended.exit_code,
        "reason": ended.reason,
        "finishedAt": timestamp(ended.finished_at),
    }
    if ended.started_at is not None:
        state["startedAt"] = timestamp(ended.started_at)
    if ended.signal:
        state["signal"] = ended.signal
    if ended.message:
        state["message"] = ended.message
    if identity:
        state["containerID"] = identity
    return state


def _quality(spec: Mapping[str, Any]) -> str:
    """The pod's quality-of-service class; it has no effect here, `kubectl describe` prints it."""
    every = [*(spec.get("initContainers") or ()), *spec["containers"]]
    resources = [container.get("resources") or {} for container in every]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    for held in resources:
        limits = held.get("limits") or {}
        if any(name not in limits for name in ("cpu", "memory")):
            return "Burstable"
        requests = held.get("requests") or limits
        if any(requests.get(name, limits[name]) != limits[name] for name in ("cpu", "memory")):
            return "Burstable"
    return "Guaranteed"
