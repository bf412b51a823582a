"""`make bench-reconcile-floor`, `python -m bench.reconcile_floor [N]`: how fast the control plane alone can be.

No operator is at work. A script creates what the operator would have created, twenty requests at a time, and waits
until every pod serves: whatever an operator does, it cannot be faster than that. Then the same with ReplicaSets and
with bare Pods in place of Deployments: what another design could win.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import uvloop
from rich.console import Console

from bench.real_cluster import API, NAMESPACES, PARALLEL, Object, RealCluster, is_ready, name_of, path_of, real_cluster
from bench.reconcile_real import Operators
from bench.report import ROOT, Figure, show, write
from insource.api.meta import ADAPTER_SERVICE_ACCOUNT

OURS = "app.kubernetes.io/managed-by=insource"
SAMPLE = 10**6
"""Number of the ModelDeployment whose children are the samples."""
console = Console()
_PATHS = {
    "Service": "/api/v1/namespaces/{}/services",
    "ControllerRevision": "/apis/apps/v1/namespaces/{}/controllerrevisions",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "Pod": "/api/v1/namespaces/{}/pods",
}


async def sample(cluster: RealCluster) -> list[Object]:
    """What the operator makes for one ModelDeployment."""
    namespace = f"team-{SAMPLE % NAMESPACES}"
    with cluster.with_gateway():
        operators = Operators(cluster, peer=False)
        async with cluster.watching(f"{API}/modeldeployments", is_ready) as watched, operators.running() as process:
            await cluster.create_one(SAMPLE)
            await watched.until(1, 60, process.check)
            found = []
            for kind in ("Service", "ControllerRevision", "ReplicaSet"):
                listed = await cluster.request("GET", f"{_PATHS[kind].format(namespace)}?labelSelector={quote(OURS)}")
                found.append({"kind": kind, **listed["items"][0]})
            await cluster.request("DELETE", path_of(SAMPLE))
    return found


def copies(samples: Sequence[Object], number: int, workload: str) -> list[tuple[str, Object]]:
    """The same for another ModelDeployment: path and body of each object, the ReplicaSet as `workload`."""
    namespace = f"team-{number % NAMESPACES}"
    made = []
    for each in samples:
        body = json.loads(json.dumps(each).replace(name_of(SAMPLE), name_of(number)))
        kept = ("name", "labels", "annotations")
        metadata = {key: value for key, value in body.pop("metadata").items() if key in kept}
        kind = workload if body.pop("kind") == "ReplicaSet" else each["kind"]
        if kind == "Pod":
            template = body["spec"]["template"]
            metadata["labels"], body["spec"] = template["metadata"]["labels"], template["spec"]
        body.pop("status", None), body.pop("apiVersion", None)
        made.append((_PATHS[kind].format(namespace), {"metadata": metadata, **body}))
    return made


def serves(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


async def measure(count: int, workload: str) -> tuple[float, dict[str, float]]:
    """Seconds from the first request until every pod is Ready; CPU of each program, ms per object."""
    with tempfile.TemporaryDirectory(prefix="insource-bench-") as name:
        async with real_cluster(Path(name), count) as cluster:
            samples = await sample(cluster)
            for number in range(1, NAMESPACES):
                account = {"metadata": {"name": ADAPTER_SERVICE_ACCOUNT}}
                await cluster.request("POST", f"/api/v1/namespaces/team-{number}/serviceaccounts", account)
            async with cluster.watching("/api/v1/pods", serves, OURS) as watched:
                await watched.until_none(60)
                before = cluster.cpu_s()
                started = asyncio.get_running_loop().time()
                gate = asyncio.Semaphore(PARALLEL)

                async def one(number: int) -> None:
                    async with gate:
                        for path, body in copies(samples, number, workload):
                            await cluster.request("POST", path, body)

                await asyncio.gather(*(one(number) for number in range(count)))
                await watched.until(count, 120 + count * 0.3, lambda: None)
                seconds = asyncio.get_running_loop().time() - started
                used = {what: 1000 * (cpu - before[what]) / count for what, cpu in cluster.cpu_s().items()}
    return seconds, used


def figures_of(count: int, workload: str, seconds: float, used: dict[str, float]) -> list[Figure]:
    def row(name: str, value: float, unit: str) -> Figure:
        return Figure(f"{name}, no operator, {workload}s, N={count:,}", round(value, 1), unit)

    rest = sum(cpu for what, cpu in used.items() if what not in ("kube-apiserver", "bench"))
    return [
        row("all pods Ready", seconds, "s"),
        row("CPU of kube-apiserver", used["kube-apiserver"], "ms per object"),
        row("CPU of etcd, controllers, scheduler and KWOK", rest, "ms per object"),
    ]


@click.command()
@click.argument("count", default=1_000)
def main(count: int) -> None:
    """Measure at COUNT objects: about seven minutes at 1,000."""
    figures: list[Figure] = []
    for workload in ("Deployment", "ReplicaSet", "Pod"):
        console.print(f"[dim]{count:,} {workload}s, Services and ControllerRevisions by a script[/]")
        result: Any = uvloop.run(measure(count, workload))
        figures += figures_of(count, workload, *result)
    show("The control plane alone", figures, console)
    console.print(f"written to {write('reconcile_floor', figures, ()).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
