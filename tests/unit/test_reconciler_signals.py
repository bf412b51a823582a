"""A real operator process told to stop gives the Lease up and ends well, though kopf has signal handlers of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.load.api import admitting_operator
from bench.reconcile_cluster import BenchCluster, serve

from insource.env import system_env

ROOT = Path(__file__).resolve().parents[2]
LEASE = ("coordination.k8s.io", "leases")


def _lease(cluster: BenchCluster) -> dict[str, Any]:
    lease = cluster.store.find(LEASE, "insource-system", "insource-operator")
    return {} if lease is None else lease["spec"]


async def _start(kubeconfig: Path, gateway: str, folder: Path, identity: str) -> asyncio.subprocess.Process:
    master = folder / "master"
    master.write_text("a-master\n")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "insource", "operator", "--kubeconfig", str(kubeconfig), "--identity", identity),
        *("--gateway-master-file", str(master), "--gateway-url", gateway, "--ledger-url", "http://127.0.0.1:9"),
        *("--image", "insource:test", "--listen", "127.0.0.1:0"),
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_releases_the_lease_and_ends_with_zero(number: signal.Signals, tmp_path: Path) -> None:
    cluster = BenchCluster(system_env(), admitting_operator)
    async with serve(cluster, tmp_path) as (kubeconfig, gateway):
        process = await _start(kubeconfig, gateway, tmp_path, "one")
        try:
            async with asyncio.timeout(60):
                cluster.create(0)
                await cluster.all_done.wait()  # kopf's handlers are in place by now: it feeds the catalogue
                assert _lease(cluster)["holderIdentity"] == "one"
                process.send_signal(number)
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        text = output.decode()
        assert process.returncode == 0, text
        assert _lease(cluster)["holderIdentity"] == ""
        assert "Traceback" not in text
        assert "exception" not in text.lower()
