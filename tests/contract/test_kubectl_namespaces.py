"""A namespace and its content under a real kubectl: applied, deleted by the same file, and applied again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from insource.local.control_loop import ControlLoop
from insource.local.namespaces import PAUSE_S, NamespaceController
from insource.local.service_accounts import ServiceAccountController
from insource.local.store_kinds import ResourceKind
from tests.contract.conftest import Cluster
from tests.sim.virtual import virtual_env
from tests.unit.local_widgets import NAMESPACES, WIDGETS

EXAMPLE = Path(__file__).parents[2] / "examples" / "transcription.yaml"


@pytest.fixture
async def lively(cluster: Cluster) -> AsyncIterator[Cluster]:
    """The cluster with the controllers that namespaces need; their time passes when a ModelDeployment is deleted.

    So however slow kubectl is, it finds everything that it names before the namespace's content goes by itself.
    """
    env, clock = virtual_env(1)

    def pass_time(event: str, kind: ResourceKind, _: object) -> None:
        if (event, kind.kind) == ("DELETED", "ModelDeployment"):
            clock.time += PAUSE_S

    end = cluster.store.subscribe(pass_time)
    work = [NamespaceController(cluster.store, env), ServiceAccountController(cluster.store)]
    loop = ControlLoop(cluster.store, work, env.clock)
    running = asyncio.create_task(loop.run())
    yield cluster
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    loop.close()
    end()


async def test_what_a_file_brings_the_same_file_takes_away(lively: Cluster) -> None:
    await lively.ok("apply", "-f", str(EXAMPLE))
    said = await lively.ok("delete", "-f", str(EXAMPLE))
    assert 'namespace "voice" deleted' in said
    assert '"dictation" deleted' in said
    assert lively.store.find(NAMESPACES, None, "voice") is None
    assert not lively.store.list(("insource.dev", "modeldeployments")).items
    await lively.ok("apply", "-f", str(EXAMPLE))
    await lively.ok("get", "modeldeployment", "dictation", "-n", "voice")


async def test_a_terminating_namespace_takes_nothing_new_and_can_be_finalized(lively: Cluster) -> None:
    held = {"apiVersion": "demo.insource.dev/v1alpha1", "kind": "Widget", "spec": {"color": "red"}}
    lively.store.create(WIDGETS, {**held, "metadata": {"name": "a", "finalizers": ["x.io/1"]}}, "ns")
    await lively.ok("delete", "namespace", "ns", "--wait=false")
    refused = await lively.kubectl("create", "configmap", "late", "-n", "ns")
    assert refused.code == 1
    assert "because it is being terminated" in refused.err
    assert "Terminating" in await lively.ok("get", "namespace", "ns")
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}, "spec": {"finalizers": []}}
    await lively.ok("replace", "--raw", "/api/v1/namespaces/ns/finalize", "-f", "-", stdin=body)
    assert lively.store.find(NAMESPACES, None, "ns") is None
