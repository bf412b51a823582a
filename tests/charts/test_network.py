"""The chart's NetworkPolicies, read as a network would: what must get through does, and nothing else.

This is the reading of their meaning by the API's rules; tests/node/test_policies.py sees them enforced.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from insource.api.meta import SYSTEM_NAMESPACE
from insource.wire.headers import ADMIN_PORT, ROLE_PORTS
from tests.charts.helm import Object, containers, objects, rendered


@dataclass(frozen=True)
class Peer:
    """A pod; `outside`: no pod of the cluster at all."""

    namespace: str
    labels: tuple[tuple[str, str], ...] = ()
    outside: bool = False


def ours(component: str) -> Peer:
    labels = {"app.kubernetes.io/name": "insource", "app.kubernetes.io/component": component}
    return Peer(SYSTEM_NAMESPACE, tuple(labels.items()))


OPERATOR, GATEWAY, LEDGER, TEST = map(ours, ("operator", "gateway", "ledger", "test"))
ADAPTER = Peer("voice", (("app.kubernetes.io/managed-by", "insource"),))
STRANGER = Peer("elsewhere", (("app", "x"),))
INTERNET = Peer("", outside=True)
API_SERVER = Peer("", outside=True)
NEEDED = {
    "clients call the gateway": (INTERNET, GATEWAY, 8080),
    "an Ingress calls the gateway": (STRANGER, GATEWAY, 8080),
    "the operator asks the agents": (OPERATOR, GATEWAY, 9901),
    "the operator asks the adapters": (OPERATOR, ADAPTER, ADMIN_PORT),
    **{f"the gateway calls adapters to {role}": (GATEWAY, ADAPTER, port) for role, port in ROLE_PORTS.items()},
    "the gateway tells the ledger": (GATEWAY, LEDGER, 8080),
    "adapters tell the ledger": (ADAPTER, LEDGER, 8080),
    "Prometheus reads the operator": (STRANGER, OPERATOR, 8080),
    "Prometheus reads the agents": (STRANGER, GATEWAY, 9901),
    **{
        f"the {name} reads the API": (pod, API_SERVER, 6443)
        for name, pod in {"operator": OPERATOR, "gateway": GATEWAY, "ledger": LEDGER}.items()
    },
    "helm test asks the operator": (TEST, OPERATOR, 8080),
    "helm test asks the agents": (TEST, GATEWAY, 9901),
    "helm test asks the gateway": (TEST, GATEWAY, 8080),
    "helm test asks the ledger": (TEST, LEDGER, 8080),
}
REFUSED = {
    "the agents from outside": (INTERNET, GATEWAY, 9901),
    "the ledger from outside": (INTERNET, LEDGER, 8080),
    "the ledger by other pods": (STRANGER, LEDGER, 8080),
    "the ledger by the operator": (OPERATOR, LEDGER, 8080),
    "Envoy's other ports": (STRANGER, GATEWAY, 9902),
    "the gateway to the Internet by HTTP": (GATEWAY, INTERNET, 80),
    "the ledger to adapters": (LEDGER, ADAPTER, 8101),
    "the operator to the ledger's clients": (OPERATOR, STRANGER, 8080),
    "the operator to what adapters serve": (OPERATOR, ADAPTER, 8101),
    "the ledger to the operator": (LEDGER, OPERATOR, 8080),
}


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    found = objects(rendered(tmp_path_factory.mktemp("helm")))
    return [each for each in found if each["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize("what", NEEDED)
def test_what_is_needed_gets_through(what: str, policies: list[Object]) -> None:
    assert passes(policies, *NEEDED[what])


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_does_not(what: str, policies: list[Object]) -> None:
    assert not passes(policies, *REFUSED[what])


def test_each_port_is_one_that_a_container_has(policies: list[Object], tmp_path: Path) -> None:
    deployments = [each for each in objects(rendered(tmp_path)) if each["kind"] == "Deployment"]
    has = {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: {
            port["containerPort"] for container in containers(each) for port in container["ports"]
        }
        for each in deployments
    }
    for policy in policies:
        component = policy["metadata"]["labels"]["app.kubernetes.io/component"]
        opened = {port["port"] for rule in policy["spec"].get("ingress", ()) for port in rule["ports"]}
        assert opened <= has.get(component, set()), component


def passes(policies: list[Object], source: Peer, target: Peer, port: int) -> bool:
    """A connection needs the egress of one and the ingress of the other."""
    return _allowed(policies, "Egress", source, target, port) and _allowed(policies, "Ingress", target, source, port)


def _allowed(policies: list[Object], direction: str, pod: Peer, other: Peer, port: int) -> bool:
    binding = [each["spec"] for each in policies if _selects(each, pod) and direction in each["spec"]["policyTypes"]]
    if not binding:
        return True
    key, peers = direction.lower(), "from" if direction == "Ingress" else "to"
    return any(
        _has_port(rule, port) and (not rule.get(peers) or any(_is(peer, other) for peer in rule[peers]))
        for spec in binding
        for rule in spec.get(key, ())
    )


@pytest.mark.parametrize(
    ("values", "passes_now"),
    [
        (["podMonitors.enabled=true"], True),
        (["serviceMonitors.enabled=true"], True),
        (["networkPolicies.ledgerFrom[0].namespaceSelector.matchLabels.team=a", "podMonitors.enabled=true"], False),
        (["networkPolicies.ledgerFrom[0].podSelector.matchLabels.app=x"], False),
        (
            [
                "networkPolicies.ledgerFrom[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=elsewhere",
                "networkPolicies.ledgerFrom[0].podSelector.matchLabels.app=x",
            ],
            True,
        ),
    ],
)
def test_who_else_may_call_the_ledger_is_said(tmp_path: Path, values: list[str], passes_now: bool) -> None:
    flags = [word for each in values for word in ("--set", each)]
    found = [each for each in objects(rendered(tmp_path, *flags)) if each["kind"] == "NetworkPolicy"]
    assert passes(found, STRANGER, LEDGER, 8080) is passes_now
    assert passes(found, GATEWAY, LEDGER, 8080)


def _selects(policy: Object, pod: Peer) -> bool:
    wanted = policy["spec"]["podSelector"].get("matchLabels", {})
    return pod.namespace == policy["metadata"]["namespace"] and wanted.items() <= dict(pod.labels).items()


def _has_port(rule: Object, port: int) -> bool:
    ports = rule.get("ports")
    return not ports or any(
        each.get("protocol", "TCP") == "TCP" and each["port"] <= port <= each.get("endPort", each["port"])
        for each in ports
    )


def _is(peer: dict[str, Any], other: Peer) -> bool:
    if other.outside:
        return False
    # A peer without a selector of namespaces is of the policy's own.
    names = {"kubernetes.io/metadata.name": other.namespace}
    here = (
        _matches(peer["namespaceSelector"], names)
        if "namespaceSelector" in peer
        else other.namespace == SYSTEM_NAMESPACE
    )
    return here and _matches(peer.get("podSelector", {}), dict(other.labels))


def _matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    for each in selector.get("matchExpressions", ()):
        assert each["operator"] == "In", "the only one that this knows"
        if labels.get(each["key"]) not in each["values"]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())
