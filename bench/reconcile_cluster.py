"""The cluster of `bench.reconcile`: the embedded API server over HTTP, which counts, and a little life behind it.

A workload is ready at once; a gateway has applied at once what the statuses ask for. None of that is the operator's.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from bench.load.api import prepared_store, serving, write_kubeconfig
from insource.api.meta import SYSTEM_NAMESPACE
from insource.env import Env
from insource.local.apiserver import create_app
from insource.local.auth import Tokens
from insource.local.store import Store

MDEPS = ("insource.dev", "modeldeployments")
WORKLOADS = ("replicasets", "deployments")
"""Ours, and the peer's."""
LEASES = ("coordination.k8s.io", "leases")
LEASE_NAME = "insource-operator"
NAMESPACES = 10
_PATH = re.compile(r"^/apis?/(?:[^/]+/)?v[^/]+/(?:namespaces/[^/]+/)?([^/]+)(?:/([^/]+))?(?:/([^/]+))?$")


class BenchCluster:
    """Counts the writes that come by HTTP, and knows which ModelDeployments are done."""

    def __init__(self, env: Env, admit: Callable[[Store, Env], Tokens]) -> None:
        self.store = prepared_store(env, (f"team-{number}" for number in range(NAMESPACES)), history=400_000)
        self.tokens = admit(self.store, env)
        self.writes: Counter[str] = Counter()
        self.first_write: dict[str, float] = {}
        self.done: set[str] = set()
        self.wanted: dict[str, int] = {}
        self.versions: dict[str, tuple[int, int]] = {}
        self.all_done = asyncio.Event()
        self._unready: list[tuple[str, str, str]] = []
        self._watches: dict[int, web.Request] = {}
        self._expired: set[str] = set()
        self.store.subscribe(self._changed)

    def create(self, number: int) -> None:
        """A ModelDeployment, as a person would apply it."""
        name = f"m{number:05d}"
        self.wanted[name] = 1
        self.store.create(MDEPS, model_deployment(number, slots=1), f"team-{number % NAMESPACES}")

    def edit(self, number: int, slots: int) -> float:
        """Somebody changes the slots; the moment of it."""
        name = f"m{number:05d}"
        self.done.discard(name)
        self.all_done.clear()
        self.wanted[name] += 1
        self.first_write.pop(name, None)
        namespace = f"team-{number % NAMESPACES}"
        live = self.store.get(MDEPS, namespace, name)
        moment = time.perf_counter()
        spec = model_deployment(number, slots)["spec"]
        self.store.update(MDEPS, namespace, name, {**live, "spec": spec})
        return moment

    def _changed(self, change: str, kind: Any, obj: dict[str, Any]) -> None:
        metadata = obj["metadata"]
        if kind.plural in WORKLOADS and change != "DELETED":
            if (obj.get("status") or {}).get("observedGeneration", 0) < metadata["generation"]:
                self._unready.append((kind.plural, metadata["namespace"], metadata["name"]))
                if len(self._unready) == 1:
                    asyncio.get_running_loop().call_later(0.02, self._make_ready)
        elif kind.plural == "modeldeployments" and change != "DELETED":
            status = obj.get("status") or {}
            name = metadata["name"]
            traffic = status.get("traffic")
            if traffic:
                self.versions[f"{metadata['namespace']}/{name}"] = (traffic["version"], metadata["generation"])
            ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
            if (ready or status.get("primary") == name) and status.get("observedGeneration", 1) >= 1:
                if ready and status["observedGeneration"] != metadata["generation"]:
                    return
                self.done.add(name)
                if len(self.done) == len(self.wanted):
                    self.all_done.set()

    def _make_ready(self) -> None:
        todo, self._unready = self._unready, []
        for plural, namespace, name in todo:
            live = self.store.find(("apps", plural), namespace, name)
            if live is None:
                continue
            replicas = live["spec"].get("replicas", 1)
            counts = dict.fromkeys(("replicas", "readyReplicas", "availableReplicas"), replicas)
            status = {"observedGeneration": live["metadata"]["generation"], **counts}
            self.store.patch(("apps", plural), namespace, name, {"status": status}, "merge", subresource="status")

    @web.middleware
    async def count(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Count a write by kind, and note the first one about each ModelDeployment."""
        if request.method != "GET":
            found = _PATH.match(request.path)
            plural, name, sub = found.groups() if found else (request.path, None, None)
            verb = "" if request.method in ("PATCH", "POST") else f" {request.method.lower()}"
            self.writes[f"{plural}{'/' + sub if sub else ''}{verb}"] += 1
            if name and name[0] == "m":
                self.first_write.setdefault(name[:6], time.perf_counter())
        if "watch" not in request.query:
            return await handler(request)
        if request.path in self._expired:
            self._expired.discard(request.path)
            status = {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired", "message": "too old"}
            return web.Response(text=json.dumps({"type": "ERROR", "object": status}) + "\n")
        self._watches[id(request)] = request
        try:
            return await handler(request)
        finally:
            del self._watches[id(request)]

    def expire_watches(self) -> None:
        """Cut every watch and answer its next request with a 410 in the stream, as after a long partition."""
        for request in list(self._watches.values()):
            self._expired.add(request.path)
            if request.transport is not None:
                request.transport.abort()

    def take_lease(self) -> None:
        """Somebody else holds the operator's Lease, and never renews it."""
        patch = {"spec": {"holderIdentity": "somebody-else"}}
        self.store.patch(LEASES, SYSTEM_NAMESPACE, LEASE_NAME, patch, "merge")

    def lease_is_back(self) -> bool:
        """The operator has taken it again."""
        return bool(self.store.get(LEASES, SYSTEM_NAMESPACE, LEASE_NAME)["spec"]["holderIdentity"] != "somebody-else")

    async def applied(self, request: web.Request) -> web.Response:
        """The gateway's answer: everything that a status asks for is applied."""
        deployments = {
            name: {"version": self.versions[name][0], "generation": self.versions[name][1]}
            for name in request.query.getall("deployment", self.versions)
            if name in self.versions
        }
        return web.json_response({"pod": "gateway", "epoch": "1", "deployments": deployments})


def model_deployment(number: int, slots: int) -> dict[str, Any]:
    """In-house only: three children (ReplicaSet, Service, ControllerRevision)."""
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": f"m{number:05d}", "namespace": f"team-{number % NAMESPACES}"},
        "spec": {
            "modality": "Transcription",
            "backends": [{"name": "inhouse", "inHouse": {"model": "whisper-tiny-en", "slots": slots}}],
            "traffic": {"primary": "inhouse"},
        },
    }


@asynccontextmanager
async def serve(cluster: BenchCluster, folder: Path) -> AsyncIterator[tuple[Path, str]]:
    """Serve the API and the gateway on kernel-chosen ports: the kubeconfig's path and the gateway's URL."""
    app = create_app(cluster.store, cluster.tokens)
    app.middlewares.append(cluster.count)
    gateway = web.Application()
    gateway.router.add_get("/applied", cluster.applied)
    async with serving(app, gateway) as (api_url, gateway_url):
        yield write_kubeconfig(folder, api_url), gateway_url
