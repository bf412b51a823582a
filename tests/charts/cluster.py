"""A cluster into which the chart is installed, and what is asked of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from insource.api.meta import SYSTEM_NAMESPACE
from tests.charts.helm import CHART, RELEASE, helm
from tests.cluster.audit import AuditLog
from tests.cluster.processes import wait_until
from tests.servers import ApiServer

USERS = ()
WORKLOADS = ("insource-gateway", "insource-ledger", "insource-operator")
Object = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """`folder` is for the files of a test; `api` is asked as its administrator."""

    api: ApiServer
    folder: Path

    @property
    def audit(self) -> AuditLog:
        return self.api.audit

    def helm(self, *arguments: str | Path) -> str:
        """What a command says that must succeed."""
        done = self.tried(*arguments)
        assert done.returncode == 0, f"helm {' '.join(map(str, arguments))}: {done.stderr}"
        return done.stdout

    def tried(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        flags = ("--namespace", SYSTEM_NAMESPACE)
        return helm(*arguments, *flags, home=self.folder, kubeconfig=self.api.kubeconfig("admin"))

    def install(self, *flags: str | Path) -> str:
        return self.helm("install", RELEASE, CHART, "--create-namespace", "--wait", "--timeout", "120s", *flags)

    def get(self, path: str) -> Object | None:
        """An object, or None."""
        answer = self.api.request("GET", path)
        assert answer.status in (200, 404), answer.body
        return dict(answer.body) if answer.status == 200 else None

    def ours(self, kind: str, name: str, api: str = "api/v1") -> Object | None:
        """In the release's namespace."""
        return self.get(f"/{api}/namespaces/{SYSTEM_NAMESPACE}/{kind}/{name}")

    def pods(self, component: str) -> dict[str, str]:
        """Name -> uid of those that are not ending."""
        path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods?labelSelector=app.kubernetes.io/component%3D{component}"
        found = self.api.ok("GET", path)["items"]
        living = [each["metadata"] for each in found if "deletionTimestamp" not in each["metadata"]]
        return {each["name"]: each["uid"] for each in living}

    def wait(self, true: Callable[[], bool], what: str) -> None:
        wait_until(true, [], what)

    def restricted_namespace(self) -> None:
        """The release's, in which Pod Security refuses what is not restricted. Repeatable."""
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        if self.get(f"/api/v1/namespaces/{SYSTEM_NAMESPACE}") is None:
            self.namespace(SYSTEM_NAMESPACE, **labels)

    def namespace(self, name: str, **labels: str) -> None:
        self.api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})

    def volume(self, name: str = "books") -> None:
        """What a cluster's provisioner would make for the ledger's claim. Repeatable."""
        if self.get(f"/api/v1/persistentvolumes/{name}") is not None:
            return
        spec = {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": f"/books/{name}"},
        }
        self.api.ok("POST", "/api/v1/persistentvolumes", {"metadata": {"name": name}, "spec": spec})
