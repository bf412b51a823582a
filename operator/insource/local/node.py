"""The embedded node: registers itself, keeps a runner per pod that is bound to it, and offers their logs.

What happens inside one pod is `pod_runner`'s business. Limits of resources are not enforced and there is no isolation:
containers are programs of this user on this machine.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from insource.env import Env
from insource.local.addresses import AddressBlock, NoAddressError
from insource.local.images import ImageTable
from insource.local.object_events import EventRecorder
from insource.local.objects import (
    CLAIMS,
    CONFIG_MAPS,
    NODES,
    PODS,
    SECRETS,
    Object,
    condition,
    timestamp,
)
from insource.local.pod_launch import Surroundings
from insource.local.pod_lifecycle import BackOff
from insource.local.pod_logs import ContainerLogs
from insource.local.pod_runner import PodRunner
from insource.local.processes import kill_leftovers
from insource.local.store import ApiError, Store
from insource.local.store_kinds import ResourceKind
from insource.local.volumes import TokenIssuer

HEARTBEAT_S = 60.0
MANAGER = "kubelet"
KUBELET_VERSION = "v1.37.2-insource"
LOOKUPS = {"Secret": SECRETS, "ConfigMap": CONFIG_MAPS, "PersistentVolumeClaim": CLAIMS}


@dataclass(frozen=True)
class NodeSettings:
    """What the embedded node is."""

    data: Path
    """Folder for pods' files, claims and the address block; only this user can read it."""
    name: str = "insource-local"
    images: ImageTable = field(default_factory=ImageTable)
    resources: Mapping[str, str] = field(default_factory=dict)
    """Added to, or instead of, what the machine has: `{"nvidia.com/gpu": "2", "cpu": "16"}`."""
    labels: Mapping[str, str] = field(default_factory=dict)
    back_off: BackOff = field(default_factory=BackOff)


class Node:
    """Runs the pods that are bound to it. `async with` it; leaving it ends every pod's programs."""

    def __init__(self, store: Store, settings: NodeSettings, env: Env, issue: TokenIssuer) -> None:
        self._store = store
        self._settings = settings
        self._env = env
        self._issue = issue
        self._runners: dict[str, PodRunner] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._without_address: dict[str, Object] = {}
        self._log = structlog.get_logger("node")

    async def __aenter__(self) -> Node:
        settings = self._settings
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        pods = settings.data / "pods"
        pods.mkdir(exist_ok=True)
        folders = [folder for folder in pods.iterdir() if folder.is_dir()]
        killed = kill_leftovers([*pods.glob("*/*.pid")], frozenset(folder.name for folder in folders))
        if killed:
            self._log.warning("ended what an earlier node left running", pids=killed)
        self._addresses = AddressBlock.claim(settings.data / "address-block", self._env)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0))
        self._around = Surroundings(
            env=self._env,
            pods_folder=pods,
            claims_folder=settings.data / "claims",
            images=settings.images,
            host_ip=self._addresses.node,
            session=self._session,
            events=EventRecorder(self._store, self._env.clock, MANAGER, settings.name),
            lookup=self._lookup,
            issue=self._issue,
            write_status=self._write_status,
            remove=self._remove,
            back_off=settings.back_off,
        )
        self._beat()
        self._unsubscribe = self._store.subscribe(self._changed)
        ours = self._store.list(PODS).items
        known = {pod["metadata"]["uid"] for pod in ours}
        for folder in folders:
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
        for pod in ours:
            self._pod_changed("ADDED", pod)
        for claim in self._store.list(CLAIMS).items:
            self._bind_claim(claim)
        self._heartbeat = asyncio.create_task(self._keep_beating())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close(grace_s=0.0)

    async def close(self, grace_s: float) -> None:
        """End all pods' programs, each within `grace_s` seconds; the pods stay in the API. Idempotent."""
        self._unsubscribe()
        self._heartbeat.cancel()
        for runner in self._runners.values():
            runner.close(grace_s)
        await asyncio.gather(self._heartbeat, *self._tasks.values(), return_exceptions=True)
        await self._session.close()
        self._addresses.close()

    def logs(self, pod_uid: str, container: str) -> ContainerLogs | None:
        """A container's logs; None if this node has no such pod, or the pod no such container."""
        runner = self._runners.get(pod_uid)
        return runner.logs(container) if runner is not None else None

    # The store's changes -----------------------------------------------------------------------------------------

    def _changed(self, event: str, kind: ResourceKind, held: Object) -> None:
        if kind.ref == PODS:
            self._pod_changed(event, held)
        elif kind.ref in (SECRETS, CONFIG_MAPS, CLAIMS):
            if kind.ref == CLAIMS and event == "ADDED":
                self._bind_claim(held)
            for runner in self._runners.values():
                if runner.pod["metadata"]["namespace"] == held["metadata"]["namespace"]:
                    runner.references_changed()

    def _pod_changed(self, event: str, pod: Object) -> None:
        if pod["spec"].get("nodeName") != self._settings.name:
            return
        uid = pod["metadata"]["uid"]
        runner = self._runners.get(uid)
        if event == "DELETED":
            self._without_address.pop(uid, None)
            if runner is not None:
                runner.vanish()
        elif runner is not None:
            runner.update(pod)
        else:
            self._begin(pod)

    def _begin(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        try:
            address = self._addresses.take((pod.get("status") or {}).get("podIP", ""))
        except NoAddressError as error:
            self._without_address[uid] = pod
            self._around.events.record(pod, "FailedCreatePodSandBox", str(error), "Warning")
            return
        runner = self._runners[uid] = PodRunner(pod, address, self._around)
        self._tasks[uid] = asyncio.create_task(self._run(uid, runner))

    async def _run(self, uid: str, runner: PodRunner) -> None:
        try:
            (self._around.pods_folder / uid).mkdir(exist_ok=True)
            await runner.run()
        except Exception:
            self._log.exception("a pod's runner failed; it begins anew", pod=runner.pod["metadata"]["name"])
            await self._env.clock.sleep(1.0)
        finally:
            self._runners.pop(uid, None)
            self._tasks.pop(uid, None)
            self._addresses.give_back(runner.address)
        self._look_again(uid)

    def _look_again(self, uid: str) -> None:
        """A pod that ended made room; and one whose runner failed is still to be run."""
        for waiting in list(self._without_address.values()):
            self._without_address.pop(waiting["metadata"]["uid"])
            self._pod_changed("MODIFIED", waiting)
        if self._heartbeat.cancelled() or self._heartbeat.cancelling():
            return
        for pod in self._store.list(PODS).items:
            if pod["metadata"]["uid"] == uid:
                self._pod_changed("MODIFIED", pod)

    # What runners ask for ----------------------------------------------------------------------------------------

    def _lookup(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self._store.find(LOOKUPS[kind], namespace, name)

    def _write_status(self, pod: Object, status: Object) -> None:
        metadata = pod["metadata"]
        present = self._store.find(PODS, metadata["namespace"], metadata["name"])
        if present is None or present["metadata"]["uid"] != metadata["uid"]:
            return
        self._store.update(
            PODS,
            metadata["namespace"],
            metadata["name"],
            {**present, "status": status},
            subresource="status",
            field_manager=MANAGER,
        )

    def _remove(self, pod: Object) -> None:
        metadata = pod["metadata"]
        try:
            self._store.delete(
                PODS,
                metadata["namespace"],
                metadata["name"],
                grace_period_seconds=0,
                preconditions={"uid": metadata["uid"]},
            )
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    def _bind_claim(self, claim: Object) -> None:
        """A claim is a folder; it is bound as soon as it is seen, so that nobody waits for a provisioner."""
        if (claim.get("status") or {}).get("phase") == "Bound":
            return
        metadata, spec = claim["metadata"], claim["spec"]
        status = {
            "phase": "Bound",
            "accessModes": spec.get("accessModes") or [],
            "capacity": (spec.get("resources") or {}).get("requests") or {},
        }
        namespace, name, patch = metadata["namespace"], metadata["name"], {"status": status}
        try:
            self._store.patch(CLAIMS, namespace, name, patch, "merge", subresource="status", field_manager=MANAGER)
        except ApiError as error:
            self._log.warning("a claim could not be bound; trying again", claim=name, error=error.message)

    # The Node object ---------------------------------------------------------------------------------------------

    async def _keep_beating(self) -> None:
        while True:
            await self._env.clock.sleep(HEARTBEAT_S)
            try:
                self._beat()
            except ApiError as error:
                self._log.warning("could not write the node's status", error=str(error))
            for claim in self._store.list(CLAIMS).items:
                self._bind_claim(claim)

    def _beat(self) -> None:
        name = self._settings.name
        held = self._store.find(NODES, None, name)
        labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": _architecture(),
            **self._settings.labels,
        }
        if held is None:
            node = {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": labels},
                "spec": {},
            }
            held = self._store.create(NODES, node, field_manager=MANAGER)
        elif not labels.items() <= (held["metadata"].get("labels") or {}).items():
            held = self._store.patch(
                NODES, None, name, {"metadata": {"labels": labels}}, "merge", field_manager=MANAGER
            )
        status = node_status(
            held, self._addresses.node, machine_resources() | dict(self._settings.resources), self._env
        )
        self._store.update(NODES, None, name, {**held, "status": status}, subresource="status", field_manager=MANAGER)


def machine_resources() -> dict[str, str]:
    """What this machine has, as quantities."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"cpu": str(os.cpu_count() or 1), "memory": f"{pages // 1024}Ki", "pods": "250"}


def node_status(node: Object, address: str, resources: Mapping[str, str], env: Env) -> Object:
    """The Node's `status`: ready, with these resources."""
    now = timestamp(env.clock.now())
    told = {
        "MemoryPressure": ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        "DiskPressure": ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        "PIDPressure": ("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        "Ready": ("True", "KubeletReady", "the embedded node runs pods as local processes"),
    }
    conditions = []
    for kind, (state, reason, message) in told.items():
        old = condition(node, kind)
        conditions.append(
            {
                "type": kind,
                "status": state,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now,
                "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == state else now,
            }
        )
    return {
        "addresses": [
            {"type": "InternalIP", "address": address},
            {"type": "Hostname", "address": node["metadata"]["name"]},
        ],
        "capacity": dict(resources),
        "allocatable": dict(resources),
        "conditions": conditions,
        "nodeInfo": {
            "architecture": _architecture(),
            "operatingSystem": "linux",
            "osImage": "Insource embedded node",
            "kernelVersion": platform.release(),
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": "",
            "containerRuntimeVersion": "insource://processes",
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
        },
    }


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
