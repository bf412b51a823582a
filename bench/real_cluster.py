"""A real control plane with KWOK's accelerator nodes, the product's gateway with Envoy, and a client that looks on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from tests.cluster.audit import AuditLog
from tests.cluster.binaries import binaries
from tests.cluster.control_plane import ControlPlane, control_plane
from tests.cluster.gateway import Gateway, gateway
from tests.cluster.kwok import GPUS_PER_NODE, apply_crds, kwok
from tests.cluster.processes import wait_until
from tests.servers import ApiServer

from bench.reconcile import cpu_s
from bench.report import ROOT
from insource.api.catalogue import builtin_objects
from insource.api.meta import SYSTEM_NAMESPACE

OPERATORS = ("operator", "operator-b", "peer")
NAMESPACES = 10
PARALLEL = 20
API = "/apis/insource.dev/v1alpha1"
Object = dict[str, Any]


def name_of(number: int) -> str:
    return f"m{number:05d}"


def path_of(number: int) -> str:
    return f"{API}/namespaces/team-{number % NAMESPACES}/modeldeployments/{name_of(number)}"


def model_deployment(number: int, slots: int = 1) -> Object:
    """In-house on one GPU: a ReplicaSet, a Service and a ControllerRevision."""
    in_house = {
        "model": "whisper-large-v3-turbo",
        "accelerator": {"class": "nvidia-l4"},
        "slots": slots,
    }
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name_of(number), "namespace": f"team-{number % NAMESPACES}"},
        "spec": {
            "modality": "Transcription",
            "backends": [{"name": "inhouse", "inHouse": in_house}],
            "traffic": {"primary": "inhouse"},
        },
    }


def is_ready(obj: Object) -> bool:
    """Ready, and of this very generation."""
    status = obj.get("status") or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
    return ready and status.get("observedGeneration") == obj["metadata"]["generation"]


def is_available(deployment: Object) -> bool:
    return bool((deployment.get("status") or {}).get("availableReplicas"))


@dataclass
class Watched:
    """When the objects of one collection were first seen to fulfil a condition, seconds since the epoch."""

    fits: Callable[[Object], bool]
    since: dict[str, float] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def see(self, kind: str, obj: Object) -> None:
        metadata = obj["metadata"]
        name = f"{metadata.get('namespace', '')}/{metadata['name']}"
        if kind == "DELETED" or not self.fits(obj):
            self.since.pop(name, None)
        else:
            self.since.setdefault(name, time.time())
        self.changed.set()

    async def until(self, count: int, timeout_s: float, check: Callable[[], None]) -> None:
        """Wait for `count` objects. Raises TimeoutError; `check` raises if somebody has died."""
        end = time.monotonic() + timeout_s
        while len(self.since) < count:
            check()
            if time.monotonic() > end:
                raise TimeoutError(f"{len(self.since)} of {count} after {timeout_s:.0f} s")
            self.changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), 1)

    async def until_none(self, timeout_s: float) -> None:
        """Wait until no object is there, or fits. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while self.since:
                self.changed.clear()
                await self.changed.wait()


@dataclass
class RealCluster:
    """What a bench run has at hand."""

    plane: ControlPlane
    api: ApiServer
    session: aiohttp.ClientSession
    folder: Path
    audit: AuditLog
    gateway: Gateway | None = None

    @contextmanager
    def with_gateway(self) -> Iterator[None]:
        """The product's gateway is there, too."""
        with gateway(self.folder, self.plane.kubeconfig("gateway")) as running:
            self.gateway = running
            yield
            self.gateway = None

    def cpu_s(self) -> dict[str, float]:
        """Processor seconds so far of every program but the operators, by name; `bench` is this one."""
        own = os.times()
        used = {name: cpu_s(child.pid) for name, child in self.plane.children.items()}
        children = self.gateway.children if self.gateway is not None else {}
        gateway = {f"gateway's {name}": cpu_s(child.pid) for name, child in children.items()}
        return {**used, **gateway, "bench": own.user + own.system}

    async def request(self, method: str, path: str, body: Any = None, media: str = "application/json") -> Any:
        """As `admin`. Raises RuntimeError for a refusal."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": media}
        async with self.session.request(method, self.api.url + path, data=data, headers=headers) as answer:
            text = await answer.text()
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
            return json.loads(text)

    async def create(self, count: int) -> None:
        """`count` ModelDeployments, twenty requests at a time."""
        gate = asyncio.Semaphore(PARALLEL)

        async def one(number: int) -> None:
            async with gate:
                await self.create_one(number)

        await asyncio.gather(*(one(number) for number in range(count)))

    async def create_one(self, number: int) -> None:
        """One ModelDeployment."""
        await self.request("POST", path_of(number).rpartition("/")[0], model_deployment(number))

    async def edit(self, number: int, slots: int) -> tuple[float, float]:
        """A person changes the slots; when that was sent, and when it was answered: seconds since the epoch."""
        patch = {"spec": {"backends": model_deployment(number, slots)["spec"]["backends"]}}
        sent = time.time()
        await self.request("PATCH", path_of(number), patch, "application/merge-patch+json")
        return sent, time.time()

    async def edit_all(self, numbers: Iterable[int], slots: int) -> None:
        """The same of many, twenty at a time."""
        gate = asyncio.Semaphore(PARALLEL)

        async def one(number: int) -> None:
            async with gate:
                await self.edit(number, slots)

        await asyncio.gather(*(one(number) for number in numbers))

    @asynccontextmanager
    async def watching(self, path: str, fits: Callable[[Object], bool], labels: str = "") -> AsyncIterator[Watched]:
        """Objects of a collection, those with certain `labels` (a selector), listed and watched."""
        watched = Watched(fits)
        path += f"?labelSelector={quote(labels)}"
        listed = await self.request("GET", path)
        for obj in listed["items"]:
            watched.see("ADDED", obj)
        task = asyncio.create_task(self._follow(path, listed["metadata"]["resourceVersion"], watched))
        try:
            yield watched
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self, path: str, version: str, watched: Watched) -> None:
        while True:
            query = f"{path}&watch=1&allowWatchBookmarks=true&resourceVersion={version}"
            async with self.session.get(self.api.url + query, timeout=aiohttp.ClientTimeout(None)) as stream:
                async for line in stream.content:
                    event = json.loads(line)
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        watched.see(event["type"], event["object"])


@asynccontextmanager
async def real_cluster(folder: Path, objects: int) -> AsyncIterator[RealCluster]:
    """A control plane with GPUs for all `objects` and some more, our CRDs and catalogue; no operator yet."""
    nodes = math.ceil(objects * 1.1 / GPUS_PER_NODE) + 2
    with control_plane(folder, binaries(), (*OPERATORS, "gateway"), fast=True) as plane:
        api = ApiServer("real", plane.url, plane.credentials)
        apply_crds(api, ROOT / "crds")
        for name in (SYSTEM_NAMESPACE, *(f"team-{number}" for number in range(NAMESPACES))):
            api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        for user in (*OPERATORS, "gateway"):
            api.ok("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", everything_to(user))
        for obj in builtin_objects():
            plural = {"PriceBook": "pricebooks"}.get(obj["kind"], _plural(obj["kind"]))
            api.ok("POST", f"{API}/{plural}", obj)
        account = f"/api/v1/namespaces/team-{NAMESPACES - 1}/serviceaccounts/default"
        wait_until(lambda: api.request("GET", account).status == 200, [], "ServiceAccounts")
        with kwok(plane, nodes=nodes):
            headers = {"Authorization": f"Bearer {plane.credentials.tokens['admin']}"}
            connector = aiohttp.TCPConnector(ssl=plane.trust(), limit=PARALLEL + 10)
            async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
                yield RealCluster(plane, api, session, folder, AuditLog(plane.audit_log))


def _plural(kind: str) -> str:
    return kind.lower() + ("es" if kind.endswith("s") else "s")


def everything_to(user: str) -> Object:
    """A binding to cluster-admin: what is measured is the work, not the rights."""
    group = "rbac.authorization.k8s.io"
    return {
        "metadata": {"name": f"bench-{user}"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
