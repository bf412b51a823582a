"""KWOK: nodes without a machine, on which every pod is Ready at once. For scheduling and scale, never for serving."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.control_plane import ControlPlane
from tests.cluster.processes import start, wait_until
from tests.ports import free_ports
from tests.servers import ApiServer

GPUS_PER_NODE = 8
_CAPACITY = {"cpu": "64", "memory": "512Gi", "pods": "200", "nvidia.com/gpu": str(GPUS_PER_NODE)}


@contextmanager
def kwok(plane: ControlPlane, *, nodes: int) -> Iterator[None]:
    """`nodes` accelerator nodes of eight GPUs, until the block ends.

    Pods get addresses of 198.18.0.0/16, the range for benchmarks: nobody answers there.
    """
    port, node_port = free_ports(2)
    configuration = plane.folder / "kwok.yaml"
    configuration.write_text(yaml.safe_dump(_configuration(node_port)))
    stages = [flag for stage in plane.binaries.kwok_stages for flag in ("--config", str(stage))]
    child = plane.children["kwok"] = start(
        "kwok",
        [
            plane.binaries.kwok, "--kubeconfig", plane.kubeconfig("kwok"), "--config", configuration, *stages,
            "--manage-all-nodes=true", "--node-lease-duration-seconds=40", "--cidr=198.18.0.1/16",
            "--node-ip=127.0.0.1", f"--server-address=127.0.0.1:{port}",
        ],
        plane.folder,
    )  # fmt: skip
    api = ApiServer("real", plane.url, plane.credentials)
    try:
        for number in range(nodes):
            api.request("POST", "/api/v1/nodes", node(number))
        wait_until(lambda: _ready(api) >= nodes, [child], f"{nodes} KWOK nodes")
        yield
    finally:
        plane.stop_child("kwok")
        api.request("DELETE", "/api/v1/nodes?labelSelector=type%3Dkwok")


def _configuration(node_port: int) -> dict[str, Any]:
    # Options that are left out are 0 here, not defaulted: without these KWOK ends at once.
    options = {
        "enablePodsOnNodeSyncStreamWatch": True,
        "nodeLeaseParallelism": 4,
        "podPlayStageParallelism": 16,
        "nodePlayStageParallelism": 4,
        "podsOnNodeSyncParallelism": 4,
        "nodePort": node_port,
    }
    return {"apiVersion": "config.kwok.x-k8s.io/v1alpha1", "kind": "KwokConfiguration", "options": options}


def node(number: int) -> dict[str, Any]:
    """An NVIDIA L4 node that only exists as an object."""
    name = f"fake-{number:03d}"
    labels = {
        "type": "kwok",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "nvidia.com/gpu.product": "NVIDIA-L4",
    }
    annotations = {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "status": {"capacity": _CAPACITY, "allocatable": _CAPACITY},
    }


def _ready(api: ApiServer) -> int:
    return sum(
        any(c["type"] == "Ready" and c["status"] == "True" for c in each.get("status", {}).get("conditions", []))
        for each in api.ok("GET", "/api/v1/nodes?labelSelector=type%3Dkwok")["items"]
    )


def apply_crds(api: ApiServer, folder: Path) -> None:
    """Our CRDs, and wait until they are served. Repeatable."""
    crds = [document for path in sorted(folder.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())]
    for crd in crds:
        name = crd["metadata"]["name"]
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}?fieldManager=test&force=true"
        api.ok("PATCH", path, crd, "application/apply-patch+yaml")
    for crd in crds:
        spec = crd["spec"]
        path = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
        wait_until(lambda path=path: api.request("GET", path).status == 200, [], path)  # type: ignore[misc]
