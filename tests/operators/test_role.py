"""The operator on a real API server with exactly its role: nothing is refused, and no verb is there for nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from insource import __version__
from insource.api.catalogue import OWN_IMAGE
from insource.api.meta import SYSTEM_NAMESPACE
from insource.cli.roles import component_roles, user
from insource.env import system_env
from insource.kube.client import connect
from insource.reconciler.app import Operator
from insource.reconciler.settings import OperatorSettings
from tests.cluster.control_plane import ControlPlane
from tests.servers import APPLY, MERGE, ApiServer

pytestmark = pytest.mark.cluster
WHO = "operator"
SPACE = "role-team"
OURS = f"/apis/insource.dev/v1alpha1/namespaces/{SPACE}"
DEPLOYMENT = f"{OURS}/modeldeployments/m"
Right = tuple[str, str, str]
"""(verb, group, resource with its subresource)."""


def granted() -> set[Right]:
    roles = [obj for _, obj in component_roles(WHO, SYSTEM_NAMESPACE, user(WHO)) if "rules" in obj]
    return {
        (verb, group, resource)
        for role in roles
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def heard(plane: ControlPlane) -> list[dict[str, Any]]:
    """What the operator asked for resources."""
    lines = plane.audit_log.read_text().splitlines()
    events = (json.loads(line) for line in lines if line.endswith("}"))
    return [event for event in events if event["user"]["username"] == WHO and "objectRef" in event]


def used(events: list[dict[str, Any]]) -> set[Right]:
    found = set()
    for event in events:
        reference = event["objectRef"]
        sub = reference.get("subresource")
        resource = f"{reference['resource']}/{sub}" if sub else reference["resource"]
        right = (event["verb"], reference.get("apiGroup", ""), resource)
        found.add(right)
        if event["verb"] == "patch" and event["responseStatus"]["code"] == 201:
            found.add(("create", *right[1:]))  # an apply that makes the object needs both
    return found


def model_deployment(slots: int) -> dict[str, Any]:
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "m", "namespace": SPACE},
        "spec": {
            "modality": "Transcription",
            "backends": [{"name": "inhouse", "inHouse": {"model": "whisper-tiny-en", "slots": slots}}],
            "traffic": {"primary": "inhouse"},
        },
    }


class Scene:
    """What is around the operator: a kubelet that finds every pod ready, and a gateway that applies all at once."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api
        self.patched = 0

    def live(self) -> dict[str, Any]:
        found: dict[str, Any] = self.api.ok("GET", DEPLOYMENT)
        return found

    def make_ready(self) -> None:
        now = "2030-01-01T00:00:00Z"
        pods = self.api.ok("GET", f"/api/v1/namespaces/{SPACE}/pods")["items"]
        for pod in pods:
            if pod["metadata"].get("deletionTimestamp"):
                where = f"/api/v1/namespaces/{SPACE}/pods/{pod['metadata']['name']}"
                self.api.request("DELETE", where, {"gracePeriodSeconds": 0})
            elif (pod.get("status") or {}).get("phase") != "Running":
                conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": now}]
                status = {"phase": "Running", "podIP": "127.9.9.9", "podIPs": [{"ip": "127.9.9.9"}]}
                path = f"/api/v1/namespaces/{SPACE}/pods/{pod['metadata']['name']}/status"
                self.api.request("PATCH", path, {"status": {**status, "conditions": conditions}}, MERGE)

    async def applied(self, request: web.Request) -> web.Response:
        listed = await asyncio.to_thread(self.api.ok, "GET", f"{OURS}/modeldeployments")
        deployments = {}
        for obj in listed["items"]:
            traffic = (obj.get("status") or {}).get("traffic")
            if traffic:
                name = f"{SPACE}/{obj['metadata']['name']}"
                deployments[name] = {"version": traffic["version"], "generation": obj["metadata"]["generation"]}
        return web.json_response({"pod": "gateway", "epoch": "1", "deployments": deployments})

    async def keep_ready(self) -> None:
        while True:
            await asyncio.to_thread(self.make_ready)
            await asyncio.sleep(0.1)


async def until(true: Callable[[], Any], what: Callable[[], Any]) -> None:
    for _ in range(600):
        if await asyncio.to_thread(true):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(what())


@pytest.fixture
def prepared(real_api: ApiServer) -> ApiServer:
    """The API server with our kinds, the operator's roles, and a vendor in a namespace."""
    for path in sorted((Path(__file__).parents[2] / "crds").glob("*.yaml")):
        for crd in yaml.safe_load_all(path.read_text()):
            where = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
            real_api.ok("PATCH", f"{where}?fieldManager=test&force=true", crd, APPLY)
    for name in (SYSTEM_NAMESPACE, SPACE):
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        real_api.ok("PATCH", f"/api/v1/namespaces/{name}?fieldManager=test", body, APPLY)
    for resource, obj in component_roles(WHO, SYSTEM_NAMESPACE, user(WHO)):
        metadata = obj["metadata"]
        where = resource.path(metadata.get("namespace", ""), metadata["name"])
        real_api.ok("PATCH", f"{where}?fieldManager=test&force=true", obj, APPLY)
    return real_api


@asynccontextmanager
async def operator(api: ApiServer, scene: Scene, master: Path) -> AsyncIterator[Operator]:
    application = web.Application()
    application.router.add_get("/applied", scene.applied)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gateway = f"http://127.0.0.1:{runner.addresses[0][1]}"
    settings = OperatorSettings(
        kubeconfig=None,
        gateway_master_file=master,
        gateway_urls=(gateway,),
        ledger_url="http://127.0.0.1:9",
        image=f"{OWN_IMAGE}:{__version__}",
        identity="one",
    )
    client = await connect(str(api.kubeconfig(WHO)), system_env())
    stop = asyncio.Event()
    running = Operator(settings, client, system_env())
    task = asyncio.ensure_future(running.run(stop))
    kubelet = asyncio.ensure_future(scene.keep_ready())
    try:
        yield running
    finally:
        stop.set()
        kubelet.cancel()
        with suppress(asyncio.CancelledError):
            await kubelet
        await task
        await client.close()
        await runner.cleanup()


def vendor() -> dict[str, Any]:
    credentials = {"secretRef": {"name": "key", "key": "key"}}
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "Vendor",
        "metadata": {"name": "v", "namespace": SPACE},
        "spec": {"dialect": "OpenAI", "endpoint": "https://api.example.com/v1", "credentials": credentials},
    }


async def test_its_role_is_enough_and_not_more(prepared: ApiServer, plane: ControlPlane, tmp_path: Path) -> None:
    assert not [right for right in granted() if "secrets" in right[2] or "*" in right], "nothing on Secrets, no *"
    master = tmp_path / "master"
    master.write_text("a-master-of-the-gateway\n")
    scene = Scene(prepared)
    workloads = f"/apis/apps/v1/namespaces/{SPACE}/deployments"

    def names() -> set[str]:
        listed = [item["metadata"]["name"] for item in prepared.ok("GET", workloads)["items"]]
        return {name for name in listed if name.startswith("m-")}

    def ready(generation: int) -> bool:
        status = scene.live().get("status") or {}
        said = {condition["type"]: condition["status"] for condition in status.get("conditions", ())}
        return said.get("Ready") == "True" and status.get("observedGeneration") == generation

    async with operator(prepared, scene, master) as running:
        await until(lambda: running.health.unready() == "", running.health.unready)
        await asyncio.to_thread(prepared.ok, "POST", f"{OURS}/vendors", vendor())
        await asyncio.to_thread(prepared.ok, "POST", f"{OURS}/modeldeployments", model_deployment(1))
        await until(lambda: ready(1) and len(names()) == 1, scene.live)
        # Until there are more revisions than are kept for a way back, and the oldest one goes, too.
        for generation in range(2, 10):
            before = await asyncio.to_thread(names)
            change = {"spec": model_deployment(slots=generation)["spec"]}
            await asyncio.to_thread(prepared.ok, "PATCH", DEPLOYMENT, change, MERGE)
            await until(lambda g=generation, b=before: ready(g) and len(names()) == 1 and names() != b, scene.live)

    # A watch is in the audit log once it has ended.
    events = heard(plane)
    refused = [(event["verb"], event["objectRef"]) for event in events if event["responseStatus"]["code"] == 403]
    assert refused == []
    assert used(events) == granted()
