"""kopf feeds the caches and writes nothing: what is there, what comes, what changes, what goes, what does not fit."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench.load.api import admitting_operator
from bench.reconcile_cluster import BenchCluster, serve

from insource.api.kinds import Misfit
from insource.env import system_env
from insource.kube import resources
from insource.kube.client import connect
from insource.kube.resources import Key
from insource.reconciler.app import BY_KOPF
from insource.reconciler.caches import Caches
from insource.reconciler.handlers import watch_own_kinds

VENDORS = (resources.VENDORS.group, resources.VENDORS.plural)
KEY = Key("team-0", "openai")


def vendor(endpoint: str = "https://api.openai.com/v1") -> dict[str, Any]:
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "Vendor",
        "metadata": {"name": "openai", "namespace": "team-0"},
        "spec": {"endpoint": endpoint, "credentials": {"secretRef": {"name": "k", "key": "key"}}},
    }


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_additions_changes_and_deletions_reach_the_caches_and_nothing_is_written(tmp_path: Path) -> None:
    cluster, caches, env = BenchCluster(system_env(), admitting_operator), Caches(), system_env()
    by_kopf = {kind: caches.by_resource()[kind] for kind in BY_KOPF}
    started: list[bool] = []
    async with serve(cluster, tmp_path) as (kubeconfig, _), await connect(str(kubeconfig), env) as client:
        running = asyncio.ensure_future(watch_own_kinds(client, by_kopf, lambda: started.append(True)))
        try:
            await until(lambda: all(len(by_kopf[kind]) for kind in BY_KOPF if kind is not resources.VENDORS))
            assert started == [True]
            assert caches.books.get(Key("", "default")) is not None, "what was there before"
            created = cluster.store.create(VENDORS, vendor(), "team-0")
            await until(lambda: caches.vendors.get(KEY) is not None)
            changed = {**copy.deepcopy(created), "spec": vendor("https://other/v1")["spec"]}
            cluster.store.update(VENDORS, "team-0", "openai", changed)

            def endpoint() -> str:
                held = caches.vendors.get(KEY)
                assert held is not None
                return held.problem if isinstance(held, Misfit) else held.spec.endpoint

            await until(lambda: endpoint() == "https://other/v1")
            live = cluster.store.get(VENDORS, "team-0", "openai")
            assert "finalizers" not in live["metadata"], "nobody's deletion ever waits for us"
            assert not live["metadata"].get("annotations")
            cluster.store.delete(VENDORS, "team-0", "openai")
            await until(lambda: caches.vendors.get(KEY) is None)
            assert cluster.writes == {}, "kopf wrote"
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_container_whose_user_has_no_name_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr("getpass.getuser", nobody)
    cluster, caches, env = BenchCluster(system_env(), admitting_operator), Caches(), system_env()
    by_kopf = {kind: caches.by_resource()[kind] for kind in BY_KOPF}
    async with serve(cluster, tmp_path) as (kubeconfig, _), await connect(str(kubeconfig), env) as client:
        running = asyncio.ensure_future(watch_own_kinds(client, by_kopf))
        try:
            await until(lambda: running.done() or caches.books.get(Key("", "default")) is not None)
            assert not running.done(), running.exception()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_an_object_that_does_not_fit_does_not_end_the_watch(tmp_path: Path) -> None:
    cluster, caches, env = BenchCluster(system_env(), admitting_operator), Caches(), system_env()
    crds = ("apiextensions.k8s.io", "customresourcedefinitions")
    crd = copy.deepcopy(cluster.store.get(crds, None, "vendors.insource.dev"))
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    crd["spec"]["versions"][0]["schema"] = {"openAPIV3Schema": anything}
    cluster.store.update(crds, None, "vendors.insource.dev", crd)
    by_kopf = {resources.VENDORS: caches.vendors}
    async with serve(cluster, tmp_path) as (kubeconfig, _), await connect(str(kubeconfig), env) as client:
        running = asyncio.ensure_future(watch_own_kinds(client, by_kopf))
        try:
            for spec in ("words", {"endpoint": 7}, {}):
                cluster.store.create(VENDORS, {**vendor(), "spec": spec}, "team-0")
                await until(lambda: isinstance(caches.vendors.get(KEY), Misfit))
                cluster.store.delete(VENDORS, "team-0", "openai")
                await until(lambda: caches.vendors.get(KEY) is None)
            cluster.store.create(VENDORS, vendor(), "team-0")
            await until(lambda: caches.vendors.get(KEY) is not None)
            assert not isinstance(caches.vendors.get(KEY), Misfit)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
