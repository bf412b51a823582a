"""The embedded API server as a bench has it: a store with our kinds and built-ins, served over HTTP on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from bench.report import ROOT
from insource.api.catalogue import builtin_objects
from insource.api.meta import SYSTEM_NAMESPACE
from insource.cli.roles import component_roles, user
from insource.env import Env
from insource.local.auth import Tokens, User
from insource.local.rbac_defaults import apply_defaults
from insource.local.store import Store

TOKEN = "bench"


def prepared_store(env: Env, namespaces: Iterable[str], history: int) -> Store:
    """A store with our CRDs, our built-ins and these namespaces beside `insource-system`."""
    store = Store(env, history=history)
    for name in (SYSTEM_NAMESPACE, *namespaces):
        put(store, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        put(store, yaml.safe_load(path.read_text()))
    for obj in builtin_objects():
        put(store, obj)
    return store


def put(store: Store, obj: dict[str, Any]) -> None:
    """Create `obj`, without a namespace, unless it is there."""
    kind = store.kinds.of_object(obj["apiVersion"], obj["kind"])
    assert kind is not None
    if store.find(kind, None, obj["metadata"]["name"]) is None:
        store.create(kind, obj, None, field_manager="insource-catalog")


def admitting_operator(store: Store, env: Env) -> Tokens:
    """The bearer of `TOKEN` may do what the operator's role allows, and no more."""
    apply_defaults(store)
    for resource, obj in component_roles("operator", SYSTEM_NAMESPACE, user(TOKEN)):
        store.create((resource.group, resource.plural), obj, obj["metadata"].get("namespace"))
    return Tokens(store, env, {TOKEN: User(TOKEN)}, b"b" * 32)


def admitting(store: Store, env: Env) -> Tokens:
    """Who may do everything: the bearer of `TOKEN`."""
    return Tokens(store, env, {TOKEN: User("bench", groups=("system:masters",))}, b"b" * 32)


@asynccontextmanager
async def serving(*applications: web.Application) -> AsyncIterator[list[str]]:
    """Serve each on a port that the kernel chooses: their URLs."""
    runners: list[web.AppRunner] = []
    urls = []
    try:
        for application in applications:
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            runners.append(runner)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        yield urls
    finally:
        for runner in reversed(runners):
            await runner.cleanup()


def write_kubeconfig(folder: Path, server: str) -> Path:
    """A kubeconfig for `TOKEN` at `server`."""
    path = folder / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "clusters": [{"name": "bench", "cluster": {"server": server}}],
        "users": [{"name": "bench", "user": {"token": TOKEN}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path
