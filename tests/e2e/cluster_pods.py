"""A cluster in this process with a shell image, and the few objects that its tests create."""

# ruff: noqa: ASYNC110  (waiting on a condition of another process)
from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from insource.env import system_env
from insource.local.cluster import ClusterSettings, cluster
from insource.local.objects import DEPLOYMENTS, PODS, SERVICES, is_ready, is_terminating
from insource.local.store import Store

SHELL = "test/shell"
IMAGES = '{"test/shell": ["/bin/sh", "-c"]}'
SLEEP = "exec sleep 300"
TOKEN = "test-token"


def settings(folder: Path, **more: Any) -> ClusterSettings:
    folder.mkdir(parents=True, exist_ok=True)
    tokens = folder / "tokens.csv"
    tokens.write_text(f'{TOKEN},admin,admin,"system:masters"\n')
    return ClusterSettings(data=folder / "c", run_dir=folder / "run", port=0, tokens_file=tokens, **more)


@contextlib.asynccontextmanager
async def running(folder: Path, **more: Any) -> AsyncIterator[tuple[Store, str]]:
    before = os.environ.get("INSOURCE_LOCAL_IMAGES")
    os.environ["INSOURCE_LOCAL_IMAGES"] = IMAGES
    try:
        async with cluster(settings(folder, **more), system_env()) as (store, url):
            yield store, url
    finally:
        if before is None:
            del os.environ["INSOURCE_LOCAL_IMAGES"]
        else:
            os.environ["INSOURCE_LOCAL_IMAGES"] = before


def container(script: str = SLEEP, **more: Any) -> dict[str, Any]:
    return {"name": "main", "image": SHELL, "args": [script], **more}


def template(app: str, script: str = SLEEP, **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {"terminationGracePeriodSeconds": 2, "containers": [container(script, **more)]},
    }


def deployment(app: str, replicas: int, script: str = SLEEP, strategy: Any = None, **more: Any) -> dict[str, Any]:
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": app}}, "template": template(app, script, **more)}
    if strategy:
        spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": strategy}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": app}, "spec": spec}


def create_deployment(store: Store, *arguments: Any, **more: Any) -> None:
    store.create(DEPLOYMENTS, deployment(*arguments, **more), "default")


def create_service(store: Store, app: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": app, "labels": {"insource.dev/backend": "inhouse"}},
        "spec": {"clusterIP": "None", "selector": {"app": app}, "ports": [{"name": "serve", "port": 8101}]},
    }
    store.create(SERVICES, service, "default")


def create_pod(store: Store, name: str, **spec: Any) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container()], **spec}}
    store.create(PODS, pod, "default")


def pods(store: Store, app: str) -> list[dict[str, Any]]:
    return store.list(PODS, "default", label_selector=f"app={app}").items


def ready_pods(store: Store, app: str) -> list[dict[str, Any]]:
    return [pod for pod in pods(store, app) if is_ready(pod) and not is_terminating(pod)]


async def until(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """What `condition` answers once it is true."""
    async with asyncio.timeout(timeout_s):
        while not (found := condition()):
            await asyncio.sleep(0.01)
        return found


def processes_of(folder: Path) -> list[int]:
    """Processes that run in a pod's folder below `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            with contextlib.suppress(OSError):
                if str((entry / "cwd").readlink()).startswith(str(folder)):
                    found.append(int(entry.name))
    return found
