"""Operator, gateway and ledger as processes with the tokens of a release's ServiceAccounts.

They stand for the release's pods, which a node of KWOK does not run.
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from insource.api.meta import LEDGER_AUDIENCE, SYSTEM_NAMESPACE
from tests.cluster.processes import Child, start, wait_until
from tests.operators.cluster import OperatorCluster
from tests.ports import free_ports
from tests.servers import ApiServer

INSOURCE = (sys.executable, "-m", "insource")
OPERATOR = "insource-operator"


@contextmanager
def programs(api: ApiServer, folder: Path) -> Iterator[tuple[OperatorCluster, str]]:
    """Ledger, agent and Envoy; an operator is at hand (`operator`). Also answers the ledger's URL."""
    for program in (OPERATOR, "insource-gateway", "insource-ledger"):
        token_of(api, program)
    with ledger_of(api, folder) as ledger, gateway_of(api, folder, ledger) as gateway:
        yield OperatorCluster(Fixed(api), folder, gateway), ledger  # type: ignore[arg-type]


def user_of(account: str) -> str:
    return f"system:serviceaccount:{SYSTEM_NAMESPACE}:{account}"


def token_of(api: ApiServer, account: str, *audiences: str) -> str:
    """A token such as the kubelet would mount; one for the API server becomes a caller of that name."""
    path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/serviceaccounts/{account}/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": list(audiences)}}
    token = str(api.ok("POST", path, body)["status"]["token"])
    if not audiences:
        api.credentials.tokens[account] = token
    return token


def ask_cost(ledger: str, token: str) -> int:
    request = urllib.request.Request(f"{ledger}/v1/cost", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(answer.status)


@contextmanager
def ledger_of(api: ApiServer, folder: Path) -> Iterator[str]:
    (port,) = free_ports(1)
    command = ["ledger", "--kubeconfig", api.kubeconfig("insource-ledger"), "--data", folder / "books"]
    child = start("ledger", [*INSOURCE, *command, "--listen", f"127.0.0.1:{port}"], folder)
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/readyz"), [child], "the ledger")
        yield f"http://127.0.0.1:{port}"
    finally:
        child.stop()


@contextmanager
def gateway_of(api: ApiServer, folder: Path, ledger: str) -> Iterator[str]:
    """Agent and Envoy; the URL of the agent's admin."""
    listen, admin = free_ports(2)
    (folder / "ledger-token").write_text(token_of(api, "insource-gateway", LEDGER_AUDIENCE))
    (folder / "gateway-master").write_text("test-master")
    places = ["--state-dir", folder / "state", "--run-dir", folder / "run"]
    agent = ["agent", "--kubeconfig", api.kubeconfig("insource-gateway"), "--admin", f"127.0.0.1:{admin}", *places]
    agent += ["--gateway-master-file", folder / "gateway-master", "--ledger-url", ledger]
    agent += ["--ledger-token-file", folder / "ledger-token"]
    envoy = ["envoy", "--listen", f"127.0.0.1:{listen}", *places]
    children: list[Child] = []
    try:
        for program in (agent, envoy):
            children.append(start(str(program[0]), [*INSOURCE, "gateway", *program], folder))
        wait_until(lambda: _answers(f"http://127.0.0.1:{admin}/readyz"), children, "the gateway")
        yield f"http://127.0.0.1:{admin}"
    finally:
        for child in reversed(children):
            child.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class Fixed:
    """A server that nobody stops: see `tests.operators.servers.Server`."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api
