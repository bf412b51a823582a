"""The product's gateway, agent and Envoy, as child processes. Nobody sends requests, but its configuration is real."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from insource.env import system_env
from insource.gateway.envoy import EnvoySettings, write_configuration
from tests.cluster.processes import Child, start, wait_until
from tests.ports import free_ports


@dataclass(frozen=True)
class Gateway:
    """`url`: of the agent's admin; `children`: the agent and Envoy."""

    url: str
    children: Mapping[str, Child]


@contextmanager
def gateway(folder: Path, kubeconfig: Path) -> Iterator[Gateway]:
    """Running in `folder`/gateway until the block ends."""
    place = folder / "gateway"
    place.mkdir()
    (place / "master").write_text("test-master")
    (place / "token").write_text("none")
    listen, admin = free_ports(2)
    agent: list[str | Path] = [
        *(sys.executable, "-m", "insource", "gateway", "agent", "--kubeconfig", kubeconfig),
        *("--state-dir", place / "state", "--run-dir", place / "run", "--admin", f"127.0.0.1:{admin}"),
        *("--gateway-master-file", place / "master", "--ledger-url", "http://127.0.0.1:9"),
        *("--ledger-token-file", place / "token"),
    ]
    settings = EnvoySettings("127.0.0.1", listen, place / "state", place / "run", concurrency=1)
    children = {"agent": start("agent", agent, place)}
    try:
        wait_until((place / "run").exists, [children["agent"]], "the agent's folder")
        children["Envoy"] = start("envoy", write_configuration(settings, system_env()), place)
        yield Gateway(f"http://127.0.0.1:{admin}", children)
    finally:
        for child in reversed(children.values()):
            child.stop()
