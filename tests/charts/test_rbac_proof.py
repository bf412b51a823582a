"""Operator, gateway and ledger, as processes with the tokens of the chart's ServiceAccounts, on a real API server.

Nothing that they ask is denied, and each right that the release grants them is used: they have enough, and no more.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from insource.api.meta import FIELD_MANAGER, LEDGER_AUDIENCE, SYSTEM_NAMESPACE
from tests.charts.cluster import Cluster
from tests.charts.helm import RELEASE
from tests.charts.programs import OPERATOR, ask_cost, programs, token_of, user_of
from tests.cluster.audit import Request
from tests.operators.every_right import Right, exercise, of_rules, used
from tests.servers import ApiServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.xdist_group("chart-rbac")]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
PROGRAMS = ("operator", "gateway", "ledger")


@pytest.mark.parametrize("only", ["", "team"])
def test_each_program_has_every_right_it_needs_and_no_other(only: str, cluster: Cluster, tmp_path: Path) -> None:
    """`only`: the one namespace that the operator looks after."""
    api = cluster.api
    namespace = only or "work"
    cluster.restricted_namespace()
    cluster.volume()
    cluster.namespace(namespace)
    values, flags = ["networkPolicies.servingPods=true"], ["--network-policies"]
    if only:
        values.append(f"operator.watchNamespaces={{{only}}}")
        flags += ["--watch-namespace", only]
    cluster.install(*(word for value in values for word in ("--set", value)))
    granted = {program: _granted(api, f"insource-{program}") for program in PROGRAMS}
    everything = set().union(*granted.values())
    assert not [right for right in everything if "*" in right]
    assert not [right for right in granted["operator"] | granted["ledger"] if "secrets" in right[2]]

    position = cluster.audit.position()
    with programs(api, tmp_path) as (operators, ledger):
        if only:
            cluster.namespace("elsewhere")
            operators.create("elsewhere", "not-ours")
        exercise(operators, namespace, operators.operator(user_of(OPERATOR), api.kubeconfig(OPERATOR), flags))
        assert ask_cost(ledger, token_of(api, "insource-cli", LEDGER_AUDIENCE)) == 200

    def asked(program: str) -> list[Request]:
        return cluster.audit.since(position, user_of(f"insource-{program}"))

    for program in PROGRAMS:
        # A watch is in the audit log once it has ended.
        cluster.wait(lambda p=program: used(asked(p)) >= granted[p], f"the use of every right of the {program}")  # type: ignore[misc]
        assert used(asked(program)) == granted[program]
        assert [each for each in asked(program) if each.code in (401, 403)] == []
    secrets = {each.namespace for each in asked("gateway") if each.resource == "secrets"}
    assert secrets == {SYSTEM_NAMESPACE}, "clients' keys are read where the gateway is, and nowhere else"
    if only:
        assert {each.namespace for each in asked("operator")} == {"", SYSTEM_NAMESPACE, only}
        fields = api.ok("GET", operators.path("elsewhere", "not-ours"))["metadata"]["managedFields"]
        assert FIELD_MANAGER not in {each["manager"] for each in fields}
    cluster.helm("uninstall", RELEASE, "--wait", "--timeout", "120s")


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
