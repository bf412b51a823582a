"""kubectl where the embedded API server does less than a real one: it says so, and so does docs/embedded-cluster.md."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.commands.acts import act
from tests.contract.commands.golden import ROOT, prepare
from tests.contract.commands.runner import FILES, PROGRAMS
from tests.contract.commands.scenario import Act
from tests.servers import ApiServer

PAGE = (ROOT / "docs" / "embedded-cluster.md").read_text()
NAMESPACE = "refused-commands"
NOT_FOUND = (
    "could not find the requested resource",
    "doesn't have a resource type",
    "failed to create autoscaling/v2 HPA",
)
pytestmark = pytest.mark.xdist_group("refused-commands")
Kubectl = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def kubectl(embedded_api: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """Runs a command line in a namespace that has a pod `lone` and a Deployment `idle`."""
    home = tmp_path_factory.mktemp("refused")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "KUBECONFIG": str(embedded_api.kubeconfig(namespace=NAMESPACE)),
        "KUBECACHEDIR": str(home / "cache"),
    }

    def run(line: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = shlex.split(line)
        return subprocess.run(
            [PROGRAMS / program, *arguments],
            cwd=FILES, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    with embedded_api.namespace(NAMESPACE):
        act(embedded_api, NAMESPACE, Act("namespace-ready", ()))
        made = run("kubectl create -f pod.yaml -f idle.yaml")
        assert made.returncode == 0, made.stderr
        running = {"status": {"phase": "Running"}}
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/lone/status"
        embedded_api.ok("PATCH", path, running, "application/merge-patch+json")
        yield run


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("kubectl exec lone -- ls", "pods/exec"),
        ("kubectl cp pod.yaml lone:/tmp/pod.yaml", "pods/exec"),
        ("kubectl attach lone", "pods/attach"),
        ("kubectl port-forward pod/lone 18080:8080", "pods/portforward"),
        ("kubectl debug lone --image=busybox --container=debugger", "pods/ephemeralcontainers"),
        ("kubectl get --raw /api/v1/namespaces/refused-commands/pods/lone/proxy/", "pods/proxy"),
        ("kubectl create quota q --hard=pods=1", "resourcequotas"),
    ],
)
def test_what_is_not_implemented_says_so(kubectl: Kubectl, line: str, name: str) -> None:
    answer = kubectl(line)
    assert answer.returncode != 0
    assert "the embedded API server does not implement" in answer.stderr
    assert name.rpartition("/")[2] in answer.stderr
    assert name in PAGE


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("kubectl create job once --image=busybox", "Jobs"),
        ("kubectl create cronjob often --image=busybox --schedule='* * * * *'", "CronJobs"),
        ("kubectl create ingress web --rule=example.org/=web:80", "Ingresses"),
        ("kubectl create poddisruptionbudget web --selector=app=web --min-available=1", "PodDisruptionBudgets"),
        ("kubectl create priorityclass high --value=1000", "PriorityClasses"),
        ("kubectl autoscale deployment idle --min=1 --max=2", "HorizontalPodAutoscalers"),
        ("kubectl get statefulsets", "StatefulSets"),
        ("kubectl get daemonsets", "DaemonSets"),
        ("kubectl get networkpolicies", "NetworkPolicies"),
        ("kubectl get pv", "PersistentVolumes"),
        ("kubectl get storageclasses", "StorageClasses"),
    ],
)
def test_a_kind_that_is_not_served_is_not_found(kubectl: Kubectl, line: str, kind: str) -> None:
    answer = kubectl(line)
    assert answer.returncode == 1
    assert any(said in answer.stderr for said in NOT_FOUND)
    assert kind in PAGE


@pytest.mark.cluster
@pytest.mark.parametrize("line", ["kubectl api-versions", "kubectl api-resources --no-headers"])
def test_what_is_announced_a_real_server_announces_too(
    embedded_api: ApiServer, real_api: ApiServer, tmp_path: Path, line: str
) -> None:
    """A real one serves more; so these two are in no scenario."""

    def said(api: ApiServer) -> set[str]:
        prepare(api)
        environment = {"KUBECONFIG": str(api.kubeconfig()), "KUBECACHEDIR": str(tmp_path / api.kind)}
        program, *arguments = line.split()
        done = subprocess.run(
            [PROGRAMS / program, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=True
        )
        return {" ".join(each.split()) for each in done.stdout.splitlines()}

    ours = said(embedded_api)
    assert len(ours) >= 10
    assert ours - said(real_api) == set()
