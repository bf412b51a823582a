"""Nodes without a machine for the embedded API server, on which every pod is Ready at once: what KWOK is to a real one.

Asks the API as any client would, by a list and a watch, and goes on when an API server that was away is back.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import aiohttp

from tests.cluster.kwok import node
from tests.loops import loop_in_thread
from tests.servers import MERGE, ApiServer

PODS = "/api/v1/pods"
WHO = "kwok"
_SINCE = "2026-01-01T00:00:00Z"
_AGAIN_S = 0.1
Object = dict[str, Any]


@contextmanager
def nodes(api: ApiServer, count: int) -> Iterator[None]:
    """`count` accelerator nodes of eight GPUs, until the block ends. No node that is there already gets a pod."""
    for each in api.ok("GET", "/api/v1/nodes")["items"]:
        api.ok("PATCH", f"/api/v1/nodes/{each['metadata']['name']}", {"spec": {"unschedulable": True}}, MERGE)
    ours = [node(number) for number in range(count)]
    for each in ours:
        api.ok("POST", "/api/v1/nodes", each)
        status = {**each["status"], "conditions": [_true("Ready")]}
        api.ok("PATCH", f"/api/v1/nodes/{each['metadata']['name']}/status", {"status": status}, MERGE)
    kubelet = _Kubelet(api, {each["metadata"]["name"] for each in ours})
    with loop_in_thread("kubelet") as run:
        run(kubelet.start())
        try:
            yield
        finally:
            run(kubelet.stop())


class _Kubelet:
    def __init__(self, api: ApiServer, names: set[str]) -> None:
        self._api = api
        self._names = names
        self._addresses = (f"198.18.{n // 250}.{n % 250 + 1}" for n in itertools.count())

    async def start(self) -> None:
        headers = {"Authorization": f"Bearer {self._api.tokens[WHO]}"}
        connector = aiohttp.TCPConnector(ssl=self._api.trust())
        self._session = aiohttp.ClientSession(self._api.url, connector=connector, headers=headers)
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """Raises what has ended it before, if anything has."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._session.close()

    async def _run(self) -> None:
        while True:
            with suppress(aiohttp.ClientError):
                await self._follow()
            await asyncio.sleep(_AGAIN_S)

    async def _follow(self) -> None:
        """Everything that is there, then what changes, until the watch ends."""
        async with self._session.get(PODS) as answer:
            answer.raise_for_status()
            listed = await answer.json()
        for pod in listed["items"]:
            await self._play(pod)
        query = {"watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"]}
        async with self._session.get(PODS, params=query, timeout=aiohttp.ClientTimeout(None)) as stream:
            stream.raise_for_status()
            async for line in stream.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                if event["type"] != "DELETED":
                    await self._play(event["object"])

    async def _play(self, pod: Object) -> None:
        metadata = pod["metadata"]
        if pod["spec"].get("nodeName") not in self._names:
            return
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if metadata.get("deletionTimestamp"):
            await self._send("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}})
        elif pod.get("status", {}).get("phase") != "Running":
            await self._send("PATCH", f"{path}/status", {"status": running(pod, next(self._addresses))})

    async def _send(self, method: str, path: str, body: Object) -> None:
        """What has gone or changed meanwhile is left alone: the watch tells more."""
        headers = {"Content-Type": MERGE if method == "PATCH" else "application/json"}
        async with self._session.request(method, path, data=json.dumps(body), headers=headers) as answer:
            if answer.status not in (404, 409):
                answer.raise_for_status()


def running(pod: Object, address: str) -> Object:
    """The status of a pod all of whose containers run and are ready; its init containers, but sidecars, are done."""
    conditions = [_true(name) for name in ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")]
    scheduled = [each for each in pod.get("status", {}).get("conditions", []) if each["type"] == "PodScheduled"]
    spec = pod["spec"]
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": "127.0.0.1",
        "startTime": _SINCE,
        "conditions": [*scheduled, *conditions],
        "containerStatuses": [_container(each, ends=False) for each in spec["containers"]],
        "initContainerStatuses": [
            _container(each, ends=each.get("restartPolicy") != "Always") for each in spec.get("initContainers", [])
        ],
    }


def _container(container: Object, *, ends: bool) -> Object:
    done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": _SINCE, "finishedAt": _SINCE}}
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": True,
        "started": not ends,
        "restartCount": 0,
        "state": done if ends else {"running": {"startedAt": _SINCE}},
    }


def _true(name: str) -> Object:
    return {"type": name, "status": "True", "lastTransitionTime": _SINCE}
