"""A release's life on a real API server, with restricted pod security: install, upgrade, rollback, uninstall, again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from insource.api.kinds import KINDS
from insource.kube.resources import MODEL_DEPLOYMENTS
from tests.charts.cluster import WORKLOADS, Cluster
from tests.charts.helm import CHART, KUBECTL, RELEASE, VALUES, rendered

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.xdist_group("chart-releases")]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEPLOYMENT = {
    "apiVersion": MODEL_DEPLOYMENTS.api_version,
    "kind": MODEL_DEPLOYMENTS.kind,
    "metadata": {"name": "dictation"},
    "spec": {
        "modality": "Transcription",
        "backends": [{"name": "a", "inHouse": {"model": "whisper-tiny-en", "accelerator": {"class": "cpu"}}}],
        "traffic": {"primary": "a"},
    },
}


@pytest.mark.parametrize("values", sorted(path.name for path in VALUES.glob("*.yaml")))
def test_the_api_server_takes_what_is_rendered_without_a_warning(cluster: Cluster, values: str, tmp_path: Path) -> None:
    cluster.restricted_namespace()
    for name in ("speech", "images"):
        if cluster.get(f"/api/v1/namespaces/{name}") is None:
            cluster.namespace(name)
    # Kinds of others, which this cluster has not.
    without = ("--set", "gateway.httpRoute.enabled=false,podMonitors.enabled=false,serviceMonitors.enabled=false")
    path = tmp_path / "rendered.yaml"
    path.write_text(rendered(tmp_path, "--values", VALUES / values, *without))
    done = subprocess.run(
        [KUBECTL, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename", path],
        env={"PATH": "", "HOME": str(tmp_path), "KUBECONFIG": str(cluster.api.kubeconfig())},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_life_of_a_release(cluster: Cluster) -> None:
    cluster.restricted_namespace()
    cluster.namespace("voice")
    cluster.volume()

    said = cluster.install()
    assert "insource uninstall --drain" in said
    assert "http://insource-gateway.insource-system.svc/<namespace>/<ModelDeployment>/v1" in said
    for name in WORKLOADS:
        assert _ready(cluster, name), name
    for kind in KINDS:
        crd = cluster.get(f"{CRDS}/{kind.crd_name}")
        assert crd is not None
        assert any(c["type"] == "Established" and c["status"] == "True" for c in crd["status"]["conditions"])
    cluster.api.ok("POST", MODEL_DEPLOYMENTS.path("voice"), DEPLOYMENT)
    master, gateways, operators = _master(cluster), cluster.pods("gateway"), cluster.pods("operator")
    assert (len(gateways), len(operators), len(cluster.pods("ledger"))) == (2, 2, 1)

    # An upgrade touches what it changes, and nothing else.
    cluster.helm("upgrade", RELEASE, CHART, "--wait", "--timeout", "120s", "--set", "operator.replicas=3")
    assert len(cluster.pods("operator")) == 3
    assert operators.items() <= cluster.pods("operator").items()
    assert cluster.pods("gateway") == gateways
    assert _master(cluster) == master

    cluster.helm("rollback", RELEASE, "1", "--wait", "--timeout", "120s")
    cluster.wait(lambda: len(cluster.pods("operator")) == 2, "two operators again")
    assert cluster.pods("gateway") == gateways
    assert _master(cluster) == master

    # Whoever lets the gateways be scaled from now on loses none of them, nor does the next upgrade.
    scaled = ("--set", "gateway.autoscaling.enabled=true,gateway.autoscaling.minReplicas=2")
    for more in ((), ("--set", "operator.replicas=3")):
        cluster.helm("upgrade", RELEASE, CHART, "--wait", "--timeout", "120s", *scaled, *more)
        assert cluster.pods("gateway") == gateways

    # An uninstall takes the programs, and leaves what people have made and what nobody can make again.
    cluster.helm("uninstall", RELEASE, "--wait", "--timeout", "120s")
    for name in WORKLOADS:
        assert cluster.ours("deployments", name, "apis/apps/v1") is None
    assert cluster.get(MODEL_DEPLOYMENTS.path("voice", "dictation")) is not None
    assert cluster.ours("persistentvolumeclaims", "insource-ledger") is not None
    assert _master(cluster) == master
    for role in ("clusterroles", "clusterrolebindings"):
        assert cluster.get(f"/apis/rbac.authorization.k8s.io/v1/{role}/insource-operator") is None

    # The next release finds all of it.
    cluster.install("--set", "gateway.replicas=1")
    assert _master(cluster) == master
    assert cluster.get(MODEL_DEPLOYMENTS.path("voice", "dictation")) is not None
    cluster.helm("uninstall", RELEASE, "--wait", "--timeout", "120s")


def _ready(cluster: Cluster, name: str) -> bool:
    found = cluster.ours("deployments", name, "apis/apps/v1")
    assert found is not None
    return bool(found["status"].get("readyReplicas") == found["spec"]["replicas"])


def _master(cluster: Cluster) -> str:
    secret = cluster.ours("secrets", "insource-gateway-master")
    assert secret is not None
    return str(secret["data"]["master"])
