"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler as child processes on loopback."""

from __future__ import annotations

import json
import secrets
import signal
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.binaries import Binaries
from tests.cluster.credentials import Credentials
from tests.cluster.processes import Child, DiedError, start, wait_until
from tests.ports import free_ports

ATTEMPTS = 3
"""A port that was free may be taken before our program binds it: then all starts anew on others."""
_QUIET = ("system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "kwok")


def audit_policy() -> dict[str, Any]:
    """Who did what, of everybody but the cluster's own programs; one entry per request, when it is answered."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{"level": "None", "users": list(_QUIET)}, {"level": "Metadata"}],
    }


@dataclass
class ControlPlane:
    """A running control plane. `fast`: for benches, the controllers and the audit log do not hold back."""

    folder: Path
    binaries: Binaries
    credentials: Credentials
    fast: bool = False
    api_flags: Sequence[str] = ()
    children: dict[str, Child] = field(default_factory=dict)
    ports: list[int] = field(default_factory=lambda: free_ports(3))
    prefix: str = field(default_factory=lambda: f"/insource-{secrets.token_hex(8)}")
    """Should another one's etcd answer on our port, nothing of it is seen."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.ports[0]}"

    @property
    def etcd_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    def kubeconfig(self, name: str = "admin", namespace: str = "default") -> Path:
        return self.credentials.kubeconfig(name, self.url, namespace)

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.credentials.ca)

    def start(self) -> None:
        """All of it, in under ten seconds. Raises DiedError."""
        self.start_etcd()
        self.start_apiserver()
        self.start_controllers()

    def start_etcd(self) -> None:
        peer = f"http://127.0.0.1:{self.ports[2]}"
        self._start(
            "etcd", self.binaries.etcd, "--data-dir", self.folder / "etcd", "--unsafe-no-fsync",
            "--listen-client-urls", self.etcd_url, "--advertise-client-urls", self.etcd_url,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"default={peer}", "--log-level", "error",
        )  # fmt: skip
        wait_until(lambda: self._answers(f"{self.etcd_url}/health"), self._alive("etcd"), "etcd")

    def start_apiserver(self) -> None:
        """Answers once /readyz does."""
        policy = self.folder / "audit-policy.json"
        policy.write_text(json.dumps(audit_policy()))
        own = self.credentials
        self._start(
            "kube-apiserver", self.binaries.apiserver, "--etcd-servers", self.etcd_url, "--etcd-prefix", self.prefix,
            "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", str(self.ports[0]),
            "--tls-cert-file", own.certificate, "--tls-private-key-file", own.key, "--client-ca-file", own.ca,
            "--token-auth-file", own.token_file, "--authorization-mode", "RBAC", "--anonymous-auth=true",
            "--service-account-issuer", "https://kubernetes.default.svc",
            "--service-account-key-file", own.service_account_key,
            "--service-account-signing-key-file", own.service_account_key,
            "--service-cluster-ip-range", "10.96.0.0/16", "--endpoint-reconciler-type", "none",
            "--audit-policy-file", policy, "--audit-log-path", self.audit_log,
            "--audit-log-mode", "batch" if self.fast else "blocking", "--audit-log-maxsize", "2000",
            "--shutdown-delay-duration", "0s", f"--profiling={str(self.fast).lower()}", *self.api_flags,
        )  # fmt: skip
        wait_until(self.ready, self._alive("etcd", "kube-apiserver"), "kube-apiserver")

    def start_controllers(self) -> None:
        """Of them all, those of `fast` as quick as in the peers' measurements."""
        rates = ("--kube-api-qps", "1000", "--kube-api-burst", "2000")
        syncs = ("--concurrent-deployment-syncs", "20", "--concurrent-replicaset-syncs", "20")
        self._start(
            "kube-controller-manager", self.binaries.controller_manager,
            "--kubeconfig", self.kubeconfig("controller-manager"), "--leader-elect=false",
            "--secure-port", "0", "--profiling=false", "--root-ca-file", self.credentials.ca,
            "--service-account-private-key-file", self.credentials.service_account_key,
            "--horizontal-pod-autoscaler-sync-period", "1s",
            "--horizontal-pod-autoscaler-initial-readiness-delay", "0s",
            "--horizontal-pod-autoscaler-downscale-stabilization", "1s", *rates, *(syncs if self.fast else ()),
        )  # fmt: skip
        self._start(
            "kube-scheduler", self.binaries.scheduler, "--kubeconfig", self.kubeconfig("scheduler"),
            "--leader-elect=false", "--secure-port", "0", "--profiling=false", *rates,
        )  # fmt: skip

    def stop(self) -> None:
        """By force: nothing of it is kept."""
        for child in reversed(self.children.values()):
            child.stop(signal.SIGKILL)
        self.children.clear()

    def stop_child(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        self.children.pop(name).stop(how)

    def ready(self) -> bool:
        return self._answers(f"{self.url}/readyz", self.trust(), self.credentials.tokens["admin"])

    def _start(self, name: str, program: Path, *arguments: str | Path) -> None:
        self.children[name] = start(name, [program, *arguments], self.folder)

    def _alive(self, *names: str) -> list[Child]:
        return [self.children[name] for name in names]

    def _answers(self, url: str, trust: ssl.SSLContext | None = None, token: str = "") -> bool:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
        try:
            with urllib.request.urlopen(request, timeout=2, context=trust) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def control_plane(
    folder: Path, binaries: Binaries, users: Sequence[str] = (), *, fast: bool = False, api_flags: Sequence[str] = ()
) -> Iterator[ControlPlane]:
    """Running until the block ends. `users` get a token each, and no right."""
    credentials = Credentials(folder, users)
    credentials.write()
    for attempt in range(1, ATTEMPTS + 1):
        place = folder / f"run-{attempt}"
        place.mkdir()
        plane = ControlPlane(place, binaries, credentials, fast, api_flags)
        try:
            plane.start()
        except DiedError as error:
            plane.stop()
            if attempt == ATTEMPTS or "address already in use" not in str(error):
                raise
        else:
            break
    try:
        yield plane
    finally:
        plane.stop()
