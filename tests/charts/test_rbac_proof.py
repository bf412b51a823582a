"""Operator, gateway and ledger, as processes with the tokens of the chart's ServiceAccounts, on a real API server.

Nothing that they ask is denied, and each right that the release grants them is used: they have enough, and no more.
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from insource.api.meta import LEDGER_AUDIENCE, SYSTEM_NAMESPACE
from tests.charts.cluster import Cluster
from tests.cluster.audit import Request
from tests.cluster.processes import Child, free_ports, start, wait_until
from tests.operators.cluster import OperatorCluster
from tests.operators.every_right import Right, exercise, of_rules, used
from tests.servers import ApiServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.xdist_group("chart-rbac")]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
INSOURCE = (sys.executable, "-m", "insource")
PROGRAMS = ("operator", "gateway", "ledger")


def test_each_program_has_every_right_it_needs_and_no_other(cluster: Cluster, tmp_path: Path) -> None:
    api = cluster.api
    cluster.namespace(SYSTEM_NAMESPACE)
    cluster.volume()
    cluster.install()
    granted = {program: _granted(api, f"insource-{program}") for program in PROGRAMS}
    everything = set().union(*granted.values())
    assert not [right for right in everything if "*" in right]
    assert not [right for right in granted["operator"] | granted["ledger"] if "secrets" in right[2]]

    for program in PROGRAMS:
        _token(api, f"insource-{program}")
    position = cluster.audit.position()
    with _ledger(api, tmp_path) as url, _gateway(api, tmp_path, url) as gateway:
        operators = OperatorCluster(_Fixed(api), tmp_path, gateway)  # type: ignore[arg-type]
        with operators.namespace("work") as namespace:
            user = _user("insource-operator")
            exercise(operators, namespace, operators.operator(user, api.kubeconfig("insource-operator")))
        assert _ask(url, _token(api, "insource-cli", LEDGER_AUDIENCE)) == 200

    def asked(program: str) -> list[Request]:
        return cluster.audit.since(position, _user(f"insource-{program}"))

    for program in PROGRAMS:
        # A watch is in the audit log once it has ended.
        cluster.wait(lambda p=program: used(asked(p)) >= granted[p], f"the use of every right of the {program}")  # type: ignore[misc]
        assert used(asked(program)) == granted[program]
        assert [each for each in asked(program) if each.code in (401, 403)] == []
    secrets = {each.namespace for each in asked("gateway") if each.resource == "secrets"}
    assert secrets == {SYSTEM_NAMESPACE}, "clients' keys are read where the gateway is, and nowhere else"


def _granted(api: ApiServer, account: str) -> set[Right]:
    """What the release's bindings give to a ServiceAccount of it, as the API server has them."""
    subject = {"kind": "ServiceAccount", "name": account, "namespace": SYSTEM_NAMESPACE}
    bindings = [
        each
        for kind in ("clusterrolebindings", "rolebindings")
        for each in api.ok("GET", f"{RBAC}/{kind}")["items"]
        if subject in each.get("subjects", ())
    ]
    rules = []
    for binding in bindings:
        role = binding["roleRef"]
        place = "" if role["kind"] == "ClusterRole" else f"/namespaces/{binding['metadata']['namespace']}"
        rules += api.ok("GET", f"{RBAC}{place}/{role['kind'].lower()}s/{role['name']}")["rules"]
    return of_rules(rules)


def _user(account: str) -> str:
    return f"system:serviceaccount:{SYSTEM_NAMESPACE}:{account}"


def _token(api: ApiServer, account: str, *audiences: str) -> str:
    """A token such as the kubelet would mount; one for the API server becomes a caller of that name."""
    path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/serviceaccounts/{account}/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": list(audiences)}}
    token = str(api.ok("POST", path, body)["status"]["token"])
    if not audiences:
        api.credentials.tokens[account] = token
    return token


def _ask(ledger: str, token: str) -> int:
    request = urllib.request.Request(f"{ledger}/v1/cost", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(answer.status)


@contextmanager
def _ledger(api: ApiServer, folder: Path) -> Iterator[str]:
    (port,) = free_ports(1)
    command = ["ledger", "--kubeconfig", api.kubeconfig("insource-ledger"), "--data", folder / "books"]
    child = start("ledger", [*INSOURCE, *command, "--listen", f"127.0.0.1:{port}"], folder)
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/readyz"), [child], "the ledger")
        yield f"http://127.0.0.1:{port}"
    finally:
        child.stop()


@contextmanager
def _gateway(api: ApiServer, folder: Path, ledger: str) -> Iterator[str]:
    """Agent and Envoy; the URL of the agent's admin."""
    listen, admin = free_ports(2)
    (folder / "ledger-token").write_text(_token(api, "insource-gateway", LEDGER_AUDIENCE))
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


class _Fixed:
    """A server that nobody stops: see `tests.operators.servers.Server`."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api
