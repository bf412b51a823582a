"""Controllers and node together, on real processes: from a Deployment to endpoints and back to nothing."""

from __future__ import annotations

import os
import signal
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from insource.cli.certificates import ensure_certificates
from insource.local.objects import (
    CLAIMS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    EVENTS,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
    condition,
)
from insource.local.store import Store
from tests.e2e.cluster_pods import (
    SLEEP,
    TOKEN,
    container,
    create_deployment,
    create_pod,
    create_service,
    pods,
    processes_of,
    ready_pods,
    running,
    until,
)

pytestmark = pytest.mark.e2e


def endpoints(store: Store, app: str) -> list[dict[str, Any]]:
    slices = store.list(ENDPOINT_SLICES, "default", label_selector=f"kubernetes.io/service-name={app}").items
    return [endpoint for held in slices for endpoint in held["endpoints"] or ()]


def status(store: Store, app: str) -> dict[str, Any]:
    found: dict[str, Any] = store.get(DEPLOYMENTS, "default", app).get("status") or {}
    return found


async def test_a_deployment_becomes_pods_and_endpoints_and_goes_without_a_trace(tmp_path: Path) -> None:
    async with running(tmp_path) as (store, url):
        create_service(store, "web")
        create_deployment(store, "web", 2)
        await until(lambda: status(store, "web").get("availableReplicas") == 2)
        ready = await until(lambda: [e for e in endpoints(store, "web") if e["conditions"]["ready"]])
        assert len({e["addresses"][0] for e in ready}) == len(ready)
        held = store.list(ENDPOINT_SLICES, "default").items[0]
        assert held["metadata"]["labels"]["insource.dev/backend"] == "inhouse"
        assert held["ports"] == [{"name": "serve", "port": 8101, "protocol": "TCP"}]
        assert condition(store.get(DEPLOYMENTS, "default", "web"), "Progressing")["reason"] == "NewReplicaSetAvailable"
        assert len(processes_of(tmp_path)) == 2
        store.patch(DEPLOYMENTS, "default", "web", {"spec": {"replicas": 1}}, "merge", subresource="scale")
        await until(lambda: len(pods(store, "web")) == 1 and status(store, "web").get("replicas") == 1)
        store.delete(DEPLOYMENTS, "default", "web")
        await until(lambda: not pods(store, "web"))
        await until(lambda: not store.list(REPLICA_SETS, "default").items)
        assert processes_of(tmp_path) == []
        await until(lambda: endpoints(store, "web") == [])
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{url}/api/v1/nodes") as answer:
            assert (await answer.json())["items"][0]["metadata"]["name"] == "insource-local"


async def test_a_killed_container_leaves_and_returns_to_the_endpoints(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    probe = {"exec": {"command": ["test", "-e", str(gate)]}, "periodSeconds": 1, "failureThreshold": 1}
    async with running(tmp_path) as (store, _):
        create_service(store, "web")
        create_deployment(store, "web", 1, readinessProbe=probe)
        await until(lambda: [e for e in endpoints(store, "web") if e["conditions"]["ready"]])
        gate.unlink()
        await until(lambda: not endpoints(store, "web")[0]["conditions"]["ready"])
        gate.touch()
        await until(lambda: endpoints(store, "web")[0]["conditions"]["ready"])
        os.kill(processes_of(tmp_path)[0], signal.SIGKILL)
        await until(lambda: pods(store, "web")[0]["status"]["containerStatuses"][0]["restartCount"] == 1)
        await until(lambda: endpoints(store, "web")[0]["conditions"]["ready"])


async def test_a_rolling_update_never_falls_below_its_minimum(tmp_path: Path) -> None:
    async with running(tmp_path) as (store, _):
        create_deployment(store, "web", 3, strategy={"maxSurge": 1, "maxUnavailable": 0})
        await until(lambda: status(store, "web").get("availableReplicas") == 3)
        least, most = [3], [3]

        def look(event: str, kind: Any, held: Any) -> None:
            if kind.ref == PODS:
                least.append(len(ready_pods(store, "web")))
                active = [pod for pod in pods(store, "web") if not pod["metadata"].get("deletionTimestamp")]
                most.append(len(active))

        end = store.subscribe(look)
        changed = [{**container(SLEEP), "env": [{"name": "VERSION", "value": "2"}]}]
        patch = {"spec": {"template": {"spec": {"containers": changed}}}}
        store.patch(DEPLOYMENTS, "default", "web", patch, "merge")
        await until(
            lambda: (
                status(store, "web").get("updatedReplicas") == 3
                and status(store, "web").get("availableReplicas") == 3
                and len(pods(store, "web")) == 3
                and all("env" in pod["spec"]["containers"][0] for pod in pods(store, "web"))
            ),
        )
        end()
        assert min(least) >= 3
        assert max(most) <= 4
        sets = store.list(REPLICA_SETS, "default").items
        assert sorted(held["spec"]["replicas"] for held in sets) == [0, 3]


async def test_an_unschedulable_pod_says_why_and_heals(tmp_path: Path) -> None:
    async with running(tmp_path) as (store, _):
        store.create(
            NODES,
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": "fake", "labels": {"pool": "gpu"}},
                "spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]},
            },
        )
        create_pod(store, "big", containers=[container(resources={"limits": {"nvidia.com/gpu": "1"}})])
        told = await until(lambda: condition(store.get(PODS, "default", "big"), "PodScheduled"))
        assert told["reason"] == "Unschedulable"
        assert told["message"] == (
            "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint {gpu: yes}."
        )
        assert any(event["reason"] == "FailedScheduling" for event in store.list(EVENTS, "default").items)
        allocatable = {"cpu": "4", "memory": "8Gi", "pods": "10", "nvidia.com/gpu": "1"}
        store.patch(NODES, None, "fake", {"spec": {"taints": None}}, "merge")
        store.patch(NODES, None, "fake", {"status": {"allocatable": allocatable}}, "merge", subresource="status")
        await until(lambda: store.get(PODS, "default", "big")["spec"].get("nodeName") == "fake")


async def test_a_pod_waits_for_its_claim(tmp_path: Path) -> None:
    async with running(tmp_path) as (store, _):
        volume = {"name": "v", "persistentVolumeClaim": {"claimName": "weights"}}
        create_pod(store, "p", volumes=[volume])
        told = await until(lambda: condition(store.get(PODS, "default", "p"), "PodScheduled"))
        # The real scheduler's very words: tests/cluster/test_delivery_templates.py.
        assert told["message"] == '0/1 nodes are available: persistentvolumeclaim "weights" not found. not found'
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "weights"}, "spec": spec}
        store.create(CLAIMS, claim, "default")
        await until(lambda: store.get(PODS, "default", "p")["spec"].get("nodeName"))


async def test_an_unknown_image_says_what_to_do(tmp_path: Path) -> None:
    async with running(tmp_path) as (store, _):
        create_pod(store, "nginx", containers=[{"name": "main", "image": "nginx:1"}])
        held = await until(lambda: (store.get(PODS, "default", "nginx").get("status") or {}).get("containerStatuses"))
        waiting = held[0]["state"]["waiting"]
        assert waiting["reason"] == "ErrImagePull"
        assert "real Kubernetes cluster" in waiting["message"]
        assert store.get(PODS, "default", "nginx")["status"]["phase"] == "Pending"


async def test_config_updates_and_tokens_that_the_api_accepts(tmp_path: Path) -> None:
    async with running(tmp_path) as (store, url):
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "1"}}
        store.create(CONFIG_MAPS, config, "default")
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "adapter"}}
        store.create(SERVICE_ACCOUNTS, account, "default")
        token = {"serviceAccountToken": {"path": "token", "audience": "insource-ledger", "expirationSeconds": 600}}
        create_pod(
            store,
            "p",
            serviceAccountName="adapter",
            volumes=[{"name": "c", "configMap": {"name": "c"}}, {"name": "t", "projected": {"sources": [token]}}],
            containers=[
                container(
                    f"cat /t/token; echo; {SLEEP}",
                    volumeMounts=[{"name": n, "mountPath": f"/{n}"} for n in ("c", "t")],
                )
            ],
        )
        await until(lambda: store.get(PODS, "default", "p").get("status", {}).get("phase") == "Running")
        folder = next((tmp_path / "c" / "node" / "pods").iterdir()) / "volumes"
        store.patch(CONFIG_MAPS, "default", "c", {"data": {"k": "2"}}, "merge")
        await until(lambda: (folder / "c" / "k").read_text() == "2")
        review = {"spec": {"token": (folder / "t" / "token").read_text(), "audiences": ["insource-ledger"]}}
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
            review |= {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
            async with session.post(f"{url}/apis/authentication.k8s.io/v1/tokenreviews", json=review) as answer:
                told = (await answer.json())["status"]
            assert told["authenticated"]
            assert told["user"]["username"] == "system:serviceaccount:default:adapter"
            logs = next((tmp_path / "c" / "node" / "pods").glob("*/logs/main/1.log"))
            await until(lambda: logs.read_text())
            async with session.get(f"{url}/api/v1/namespaces/default/pods/p/log") as answer:
                assert (await answer.text()).strip() == review["spec"]["token"]


async def test_the_api_by_tls(tmp_path: Path) -> None:
    authority, certificate, key = (tmp_path / name for name in ("ca.crt", "tls.crt", "tls.key"))
    ensure_certificates(authority, certificate, key, datetime.now(UTC))
    async with running(tmp_path, tls_certificate=certificate, tls_key=key) as (_, url):
        assert url.startswith("https://")
        tls = ssl.create_default_context(cafile=str(authority))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{url}/api", ssl=tls) as answer:
            assert answer.status == 200


async def test_deleting_a_namespace_ends_its_pods(tmp_path: Path) -> None:
    async with running(tmp_path) as (store, _):
        store.create(("", "namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "voice"}})
        await until(lambda: store.find(SERVICE_ACCOUNTS, "voice", "default"))
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container()]}}
        store.create(PODS, pod, "voice")
        await until(lambda: processes_of(tmp_path))
        store.delete(("", "namespaces"), None, "voice")
        await until(lambda: store.find(("", "namespaces"), None, "voice") is None)
        assert processes_of(tmp_path) == []
