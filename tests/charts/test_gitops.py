"""Nobody fights over fields: the chart and ModelDeployments applied again and again, beside a running operator."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from insource.kube.resources import MODEL_DEPLOYMENTS
from tests.charts.cluster import Cluster
from tests.charts.helm import KUBECTL, ROOT, VALUES, rendered, template
from tests.charts.programs import OPERATOR, programs, user_of
from tests.charts.test_releases import DEPLOYMENT
from tests.cluster.kwok import apply_crds

SIDE = ("--server-side", "--field-manager=gitops")


def kubectl(cluster: Cluster, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [KUBECTL, *arguments],
        env={"PATH": "/usr/bin:/bin", "HOME": str(cluster.folder), "KUBECONFIG": str(cluster.api.kubeconfig())},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_with_a_master_of_ones_own_every_rendering_is_the_same(tmp_path: Path) -> None:
    one, two = (template(tmp_path, "--values", VALUES / "small.yaml").stdout for _ in range(2))
    assert one == two
    assert "kind: Secret\n" not in one


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("chart-gitops")
def test_what_is_applied_again_beside_a_running_operator_changes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    api = cluster.api
    cluster.restricted_namespace()
    cluster.namespace("voice")
    apply_crds(api, ROOT / "crds")
    chart, deployment = tmp_path / "chart.yaml", tmp_path / "deployment.json"
    chart.write_text(rendered(tmp_path))
    deployment.write_text(json.dumps({**DEPLOYMENT, "metadata": {"name": "dictation", "namespace": "voice"}}))
    for path in (chart, deployment):
        done = kubectl(cluster, "apply", *SIDE, "--filename", path)
        assert done.returncode == 0, done.stderr

    with (
        programs(api, tmp_path) as (operators, _),
        operators.operator(user_of(OPERATOR), api.kubeconfig(OPERATOR)),
    ):
        operators.wait_ready("voice", "dictation")
        for path in (chart, deployment):
            done = kubectl(cluster, "diff", *SIDE, "--filename", path)
            assert (done.returncode, done.stdout) == (0, ""), done.stderr
        before = api.ok("GET", MODEL_DEPLOYMENTS.path("voice", "dictation"))["metadata"]
        assert kubectl(cluster, "apply", *SIDE, "--filename", deployment).returncode == 0
        after = api.ok("GET", MODEL_DEPLOYMENTS.path("voice", "dictation"))
        assert (after["metadata"]["generation"], after["metadata"]["resourceVersion"]) == (
            before["generation"],
            before["resourceVersion"],
        )
        operators_fields = [each for each in before["managedFields"] if each["manager"] == "insource"]
        assert {each.get("subresource") for each in operators_fields} == {"status"}, "spec is the person's"
        (ready,) = [each for each in after["status"]["conditions"] if each["type"] == "Ready"]
        assert ready["observedGeneration"] == after["metadata"]["generation"]
