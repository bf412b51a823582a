"""Child process: the embedded API server with ModelDeployments as the operator leaves them, and their EndpointSlices.

Commanded by lines of JSON on standard input. `{"deployments": N}` makes it N deployments, the first one with two
revisions; the answer is the version of their routing. `{"split": [a, b]}` changes the first one's weights, and is
answered with the monotonic time just before its status was written.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.load.agent import API_KEY, CLIENT, DEPLOYMENT
from bench.load.api import admitting, prepared_store, serving, write_kubeconfig
from insource.api import meta
from insource.env import system_env
from insource.local.apiserver import create_app
from insource.local.store import Store

MDEPS = ("insource.dev", "modeldeployments")
SLICES = ("discovery.k8s.io", "endpointslices")
SECRETS = ("", "secrets")
BREATH = 50
"""After so many objects those who watch are served."""


class Cluster:
    """The store, and what is in it."""

    def __init__(self, store: Store, ports: list[int], limit: int) -> None:
        self._store = store
        self._ports = ports
        self._limit = limit
        self._present = 0
        self._version = 1
        store.create(SECRETS, client_secret(), meta.SYSTEM_NAMESPACE)

    async def grow(self, count: int) -> int:
        """Make it `count` deployments: their version."""
        for number in range(self._present, count):
            self._deploy(number)
            if number % BREATH == 0:
                await asyncio.sleep(0)
        self._present = count
        return self._version

    def split(self, weights: list[int]) -> float:
        """Give the first deployment other weights: when."""
        self._version += 1
        told = time.monotonic()
        self._route(DEPLOYMENT.name, self._version, weights)
        return told

    def _deploy(self, number: int) -> None:
        name = f"other-{number}" if number else DEPLOYMENT.name
        self._store.create(MDEPS, model_deployment(name), DEPLOYMENT.namespace)
        ports = self._ports if number == 0 else self._ports[:1]
        for revision, port in enumerate(ports):
            self._store.create(SLICES, endpoint_slice(name, f"r{revision}", port), DEPLOYMENT.namespace)
        self._route(name, self._version, [1, 0][: len(ports)])

    def _route(self, name: str, version: int, weights: list[int]) -> None:
        split = [{"backend": "inhouse", "revision": f"r{n}", "weight": weight} for n, weight in enumerate(weights)]
        traffic = {
            "version": version,
            "weights": split,
            "modality": "Transcription",
            "requestTimeoutSeconds": 600,
            "maxBodyBytes": self._limit,
        }
        patch = {"status": {"traffic": traffic}}
        self._store.patch(MDEPS, DEPLOYMENT.namespace, name, patch, "merge", subresource="status")


def model_deployment(name: str) -> dict[str, Any]:
    """In-house only."""
    spec = {
        "modality": "Transcription",
        "backends": [{"name": "inhouse", "inHouse": {"model": "whisper-tiny-en"}}],
        "traffic": {"primary": "inhouse"},
    }
    return {"apiVersion": "insource.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": name}, "spec": spec}


def endpoint_slice(name: str, revision: str, port: int) -> dict[str, Any]:
    """One ready endpoint of one revision."""
    labels = {
        meta.LABEL_MANAGED_BY: meta.MANAGED_BY,
        meta.LABEL_DEPLOYMENT: name,
        meta.LABEL_BACKEND: "inhouse",
        meta.LABEL_REVISION: revision,
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-{revision}", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "serve", "port": port, "protocol": "TCP"}],
    }


def client_secret() -> dict[str, Any]:
    """The client of `bench.load.agent`."""
    metadata = {
        "name": "client-bench",
        "labels": {meta.LABEL_CLIENT: CLIENT},
        "annotations": {meta.ANNOTATION_NAMESPACES: DEPLOYMENT.namespace},
    }
    data = {"key": base64.b64encode(API_KEY.encode()).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


async def main(settings: dict[str, Any]) -> None:
    """Serve and obey."""
    env = system_env()
    store = prepared_store(env, (DEPLOYMENT.namespace,), history=100_000)
    cluster = Cluster(store, settings["ports"], settings["limit"])
    loop = asyncio.get_running_loop()
    async with serving(create_app(store, admitting(store, env))) as (url,):
        print(json.dumps({"kubeconfig": str(write_kubeconfig(Path(settings["folder"]), url))}), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            if "deployments" in command:
                answer: dict[str, Any] = {"version": await cluster.grow(command["deployments"])}
            else:
                answer = {"told": cluster.split(command["split"])}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
