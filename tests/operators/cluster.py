"""What a test of the operator has at hand: an API server, nodes, a gateway, operators as processes, and the audit log.

Nothing in here, and no expectation of a test, depends on which of the two API servers it is.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from insource import __version__
from insource.api.catalogue import OWN_IMAGE
from insource.api.meta import SYSTEM_NAMESPACE
from insource.cli.roles import component_roles, user
from insource.kube.resources import (
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    LEASES,
    MODEL_DEPLOYMENTS,
    REPLICA_SETS,
    SERVICES,
    VENDORS,
    Resource,
)
from tests.cluster.audit import AuditLog, Request
from tests.cluster.gateway import gateway
from tests.cluster.kwok import apply_crds
from tests.cluster.processes import PATIENCE_S, start, wait_until
from tests.model_deployments import model_deployment
from tests.operators.pair import Operator, Pair
from tests.operators.servers import Server
from tests.ports import free_ports
from tests.servers import APPLY, MERGE, ApiServer

ROOT = Path(__file__).parents[2]
FIRST, SECOND = OPERATORS = ("operator", "operator-b")
USERS = (*OPERATORS, "gateway")
LEASE_NAME = "insource-operator"
LEASE = LEASES.path(SYSTEM_NAMESPACE, LEASE_NAME)
LEASE_S = 6.0
QUIET_S = 3.0
"""Without a write for so long, an operator has nothing left to do: its polls come each second."""
CHILDREN = (REPLICA_SETS, DEPLOYMENTS, SERVICES, CONTROLLER_REVISIONS)
_NOT_WORK = ("leases", "events", "acceleratorclasses/status")
"""The last is counted a moment after whatever was done."""
Object = dict[str, Any]


@dataclass(frozen=True)
class OperatorCluster:
    """Operators are named by their users."""

    server: Server
    folder: Path
    gateway_url: str
    starts: list[tuple[float, float]] = field(default_factory=list)
    """When the API server began to start again, and when it was ready: seconds since the epoch."""

    @property
    def api(self) -> ApiServer:
        return self.server.api

    @property
    def audit(self) -> AuditLog:
        return self.server.api.audit

    def wait(self, true: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
        wait_until(true, [], what, seconds)

    # --- operators

    @contextmanager
    def operator(
        self, user: str = FIRST, kubeconfig: Path | None = None, flags: Sequence[str] = ()
    ) -> Iterator[Operator]:
        """A running operator that has read all there is; ended with the block, so that the next need not wait for it.

        All that it did must be in order.
        """
        position = self.audit.position()
        with self._process(user, kubeconfig, flags) as running:
            self._wait_for_the_lease(running, position)
            yield running
        self.assert_in_order(position)

    @contextmanager
    def _process(self, user: str, kubeconfig: Path | None, flags: Sequence[str] = ()) -> Iterator[Operator]:
        master = self.folder / "master"
        master.write_text("test-master")
        (port,) = free_ports(1)
        command = [
            *(sys.executable, "-m", "insource", "operator", "--kubeconfig", kubeconfig or self.api.kubeconfig(user)),
            *("--identity", user, "--gateway-master-file", master, "--gateway-url", self.gateway_url),
            *("--ledger-url", "http://127.0.0.1:9", "--image", f"{OWN_IMAGE}:{__version__}"),
            *("--listen", f"127.0.0.1:{port}"),
            *flags,
        ]
        child = start(user, command, self.folder)
        try:
            yield Operator(user, child, port)
        finally:
            child.stop()

    def _wait_for_the_lease(self, operator: Operator, position: int) -> None:
        """It asks for the Lease when its caches have what there is."""

        def asked() -> bool:
            return any(each.resource == "leases" for each in self.audit.since(position, operator.user))

        wait_until(asked, [operator.child], f"{operator.user}'s first look at the Lease")

    def assert_in_order(self, position: int) -> None:
        """Nothing was denied, and nobody wrote without the Lease."""
        assert self.intruders(position) == []
        denied = [each for each in self.audit.since(position) if each.user in USERS and each.is_denied]
        assert [each for each in denied if not any(a < each.received_s < b for a, b in self.starts)] == []

    @contextmanager
    def outage(self, how: signal.Signals) -> Iterator[None]:
        """No API server in the block. Afterwards it is back, with all that it was told."""
        self.server.stop(how)
        yield
        began = time.time()
        self.server.start()
        # A real one denies everything until it has read its roles.
        self.starts.append((began, time.time()))

    @contextmanager
    def pair(self, kubeconfigs: Mapping[str, Path] = {}) -> Iterator[Pair]:
        """Two operators, one of which leads; ended with the block. All that they did must be in order."""
        position = self.audit.position()
        with ExitStack() as stack:
            # At once: their start is most of what this takes.
            running = [stack.enter_context(self._process(user, kubeconfigs.get(user))) for user in OPERATORS]
            for each in running:
                self._wait_for_the_lease(each, position)
            yield Pair(*running, holder=self.holder)
        self.assert_in_order(position)

    # --- the Lease

    def lease(self) -> Object:
        """Its spec; empty if there is none."""
        answer = self.api.request("GET", LEASE)
        return dict(answer.body["spec"]) if answer.status == 200 else {}

    def holder(self) -> str:
        return str(self.lease().get("holderIdentity") or "")

    # --- ModelDeployments

    @contextmanager
    def namespace(self, name: str) -> Iterator[str]:
        """Nothing of ours is left in it when the block is: that would be work for the next test's operator."""
        with self.api.namespace(name):
            account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
            self.wait(lambda: self.api.request("GET", account).status == 200, "a ServiceAccount")
            yield name
            for kind in (MODEL_DEPLOYMENTS, VENDORS):
                self.api.ok("DELETE", kind.path(name))
            self.wait(lambda: not self._left(name), f"the end of what is in {name}")

    def _left(self, namespace: str) -> list[Object]:
        found = list(self.api.ok("GET", MODEL_DEPLOYMENTS.path(namespace))["items"])
        return found + [each for kind in CHILDREN for each in self.children(namespace, kind)]

    def path(self, namespace: str, name: str) -> str:
        return MODEL_DEPLOYMENTS.path(namespace, name)

    def create(self, namespace: str, *names: str) -> None:
        for name in names:
            self.api.ok("POST", MODEL_DEPLOYMENTS.path(namespace), model_deployment(name, slots=1))

    def edit(self, namespace: str, name: str, slots: int) -> None:
        path = self.path(namespace, name)
        backends = self.api.ok("GET", path)["spec"]["backends"]
        backends[0]["inHouse"]["slots"] = slots
        self.api.ok("PATCH", path, {"spec": {"backends": backends}}, MERGE)

    def ready(self, namespace: str, name: str) -> bool:
        obj = self.api.request("GET", self.path(namespace, name)).body
        status = obj.get("status") or {}
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
        return ready and status.get("observedGeneration") == obj["metadata"]["generation"]

    def wait_ready(self, namespace: str, *names: str) -> None:
        for name in names:
            self.wait(lambda name=name: self.ready(namespace, name), f"{namespace}/{name} Ready")  # type: ignore[misc]

    def serve(self, namespace: str, *names: str) -> None:
        """Create them, and wait until they are Ready."""
        self.create(namespace, *names)
        self.wait_ready(namespace, *names)

    def children(self, namespace: str, kind: Resource) -> list[Object]:
        query = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dinsource"
        return list(self.api.ok("GET", f"{kind.path(namespace)}?{query}")["items"])

    # --- who wrote what

    def work(self, position: int, *users: str) -> list[Request]:
        """The writes since `position` but for the Lease, Events and counts; of both operators if none is named."""
        wanted = users or OPERATORS
        since = self.audit.since(position, wanted[0] if len(wanted) == 1 else "")
        return [each for each in since if each.user in wanted and each.is_write and each.resource not in _NOT_WORK]

    def intruders(self, position: int) -> list[Request]:
        """Successful work of an operator after another one had written the Lease, and before it has itself again."""
        found, holder = [], ""
        for each in self._in_order():
            if each.resource == "leases":
                holder = each.user
            elif each.at >= position and each.user != holder:
                found.append(each)
        return found

    def takeovers(self, position: int) -> list[float]:
        """How long the one who held the Lease had not written it when the other one did, seconds; each time it did."""
        held = [each for each in self._in_order() if each.resource == "leases"]
        return [
            after.received_s - before.received_s
            for before, after in pairwise(held)
            if after.at >= position and after.user != before.user
        ]

    def assert_no_two_led(self, position: int) -> None:
        """Nobody wrote without the Lease, nor took it before it had expired. Not for times in which one gives it up."""
        assert self.intruders(position) == [], "one wrote after the other had begun to lead"
        assert [silence_s for silence_s in self.takeovers(position) if silence_s < LEASE_S] == []

    def _in_order(self) -> list[Request]:
        """What the operators have written, the Lease and work, in the order of arrival."""
        done = [each for each in self.audit.since() if each.user in OPERATORS and each.is_write and each.code < 300]
        wanted = [each for each in done if each.resource != "events"]
        return sorted(wanted, key=lambda each: each.received_s)

    def rest(self) -> int:
        """Wait until nobody has written for a while; where the audit log then ends."""
        position, still_since = self.audit.position(), time.monotonic()

        def still() -> bool:
            nonlocal position, still_since
            end = self.audit.position()
            if self.work(position):
                position, still_since = end, time.monotonic()
            return time.monotonic() - still_since > QUIET_S

        self.wait(still, "rest")
        return self.audit.position()


@contextmanager
def operator_cluster(server: Server, folder: Path, *, nodes: int = 4) -> Iterator[OperatorCluster]:
    """Our kinds, the roles as shipped, nodes and one gateway; no operator yet."""
    api = server.api
    apply_crds(api, ROOT / "crds")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}}
    api.ok("PATCH", f"/api/v1/namespaces/{SYSTEM_NAMESPACE}?fieldManager=test", namespace, APPLY)
    grant(api, "operator", OPERATORS)
    grant(api, "gateway", ("gateway",))
    with server.nodes(nodes), gateway(folder, api.kubeconfig("gateway")) as running:
        yield OperatorCluster(server, folder, running.url)


def grant(api: ApiServer, component: str, users: tuple[str, ...]) -> None:
    """The component's roles, as shipped, to these users."""
    for resource, obj in component_roles(component, SYSTEM_NAMESPACE, user(users[0])):
        if "subjects" in obj:
            obj["subjects"] = [user(name) for name in users]
        where = resource.path(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        api.ok("PATCH", f"{where}?fieldManager=test&force=true", obj, APPLY)
