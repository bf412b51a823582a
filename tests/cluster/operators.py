"""The product's operator and gateway as processes on a real control plane with KWOK's nodes, asked from outside."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.real_cluster import API, everything_to, gateway

from insource import __version__
from insource.api.catalogue import OWN_IMAGE, builtin_objects
from insource.api.meta import SYSTEM_NAMESPACE
from tests.cluster.audit import AuditLog, Request
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kwok import apply_crds, kwok
from tests.cluster.processes import Child, start, wait_until
from tests.servers import MERGE, ApiServer

ROOT = Path(__file__).parents[2]
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM_NAMESPACE}/leases/insource-operator"
LEASE_S = 6.0
QUIET_S = 3.0
"""Without a write for so long, an operator has nothing left to do: its polls come each second."""
_NOT_WORK = ("leases", "events")
Object = dict[str, Any]


@dataclass
class OperatorCluster:
    """One control plane. Operators are named by their users, `operator` and `operator-b`."""

    plane: ControlPlane
    folder: Path
    api: ApiServer = field(init=False)
    audit: AuditLog = field(init=False)
    gateway_url: str = ""
    gateway: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.api = ApiServer("real", self.plane.url, self.plane.credentials)
        self.audit = AuditLog(self.plane.audit_log)

    @contextmanager
    def operator(self, user: str = "operator") -> Iterator[Child]:
        """A running operator that has read all there is; killed at the end if it still runs."""
        master = self.folder / "master"
        master.write_text("test-master")
        position = self.audit.position()
        command = [
            *(sys.executable, "-m", "insource", "operator", "--kubeconfig", str(self.plane.kubeconfig(user))),
            *("--identity", user, "--gateway-master-file", str(master), "--gateway-url", self.gateway_url),
            *("--ledger-url", "http://127.0.0.1:9", "--image", f"{OWN_IMAGE}:{__version__}"),
            *("--listen", "127.0.0.1:0"),
        ]
        child = start(user, command, self.folder, {"PYTHONPATH": f"{ROOT}:{ROOT / 'operator'}"})
        try:
            # It asks for the Lease when its caches have what there is.
            asked = lambda: any(each.resource == "leases" for each in self.audit.since(position, user))  # noqa: E731
            wait_until(asked, [child], f"{user}'s first look at the Lease")
            yield child
        finally:
            child.stop(signal.SIGKILL)

    def holder(self) -> str:
        answer = self.api.request("GET", LEASE)
        return str(answer.body["spec"].get("holderIdentity") or "") if answer.status == 200 else ""

    def wait(self, true: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        wait_until(true, [], what, seconds)

    # --- ModelDeployments

    @contextmanager
    def namespace(self, name: str) -> Iterator[str]:
        """Gone when the block is left: what still ends in it would be work for the next test's operator."""
        with self.api.namespace(name):
            account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
            self.wait(lambda: self.api.request("GET", account).status == 200, "a ServiceAccount")
            yield name
        self.wait(
            lambda: self.api.request("GET", f"/api/v1/namespaces/{name}").status == 404, f"the end of {name}", 120
        )

    def path(self, namespace: str, name: str) -> str:
        return f"{API}/namespaces/{namespace}/modeldeployments/{name}"

    def create(self, namespace: str, name: str) -> None:
        in_house = {"model": "whisper-large-v3-turbo", "accelerator": {"class": "nvidia-l4"}, "slots": 1}
        spec = {
            "modality": "Transcription",
            "backends": [{"name": "inhouse", "inHouse": in_house}],
            "traffic": {"primary": "inhouse"},
        }
        obj = {
            "apiVersion": "insource.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name},
            "spec": spec,
        }
        self.api.ok("POST", self.path(namespace, name).rpartition("/")[0], obj)

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

    def children(self, namespace: str, plural: str) -> list[Object]:
        root = "/api/v1" if plural == "services" else "/apis/apps/v1"
        query = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dinsource"
        return list(self.api.ok("GET", f"{root}/namespaces/{namespace}/{plural}?{query}")["items"])

    # --- who wrote what

    def work(self, position: int, user: str = "operator") -> list[Request]:
        """The writes since `position` that are neither the Lease nor Events."""
        since = self.audit.since(position, user)
        return [each for each in since if each.is_write and each.resource.split("/")[0] not in _NOT_WORK]

    def rest(self, *users: str) -> int:
        """Wait until nobody has written for a while; where the audit log then ends."""
        seen, still_since = -1, time.monotonic()

        def still() -> bool:
            nonlocal seen, still_since
            count = sum(len(self.work(0, user)) for user in users or ("operator",))
            if count != seen:
                seen, still_since = count, time.monotonic()
            return time.monotonic() - still_since > QUIET_S

        self.wait(still, "rest", 90)
        return self.audit.position()


@contextmanager
def operator_cluster(plane: ControlPlane, folder: Path, *, nodes: int = 4) -> Iterator[OperatorCluster]:
    """CRDs, catalogue, KWOK and one gateway (agent and Envoy); no operator yet."""
    cluster = OperatorCluster(plane, folder)
    apply_crds(cluster.api, ROOT / "crds")
    cluster.api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": SYSTEM_NAMESPACE}})
    for user in ("operator", "operator-b", "gateway"):
        cluster.api.ok("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", everything_to(user))
    plurals = {"AcceleratorClass": "acceleratorclasses"}
    for obj in builtin_objects():
        cluster.api.ok("POST", f"{API}/{plurals.get(obj['kind'], obj['kind'].lower() + 's')}", obj)
    with kwok(plane, nodes=nodes), gateway(cluster):
        yield cluster
