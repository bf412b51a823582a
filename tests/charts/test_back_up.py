"""docs/how-to/back-up-and-move.md, typed on one cluster: what was backed up comes back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from insource.api.meta import SYSTEM_NAMESPACE
from insource.kube.resources import MODEL_DEPLOYMENTS
from tests.charts.cluster import Cluster
from tests.charts.helm import ROOT
from tests.charts.test_documents import section, shell
from tests.charts.test_releases import DEPLOYMENT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.xdist_group("chart-back-up")]
PAGE = ROOT / "docs" / "how-to" / "back-up-and-move.md"
KEPT = ("objects.yaml", "catalogue.yaml", "clients.yaml", "master.yaml")


def test_what_was_backed_up_comes_back(cluster: Cluster, tmp_path: Path) -> None:
    cluster.volume()
    cluster.install()
    cluster.namespace("voice")
    made = cluster.api.ok("POST", MODEL_DEPLOYMENTS.path("voice"), DEPLOYMENT)
    for block in section("A client"):
        shell(cluster, block, folder=tmp_path)
    back_up, stop, go_on = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    shell(cluster, back_up, folder=tmp_path)
    assert "dictation" in (tmp_path / "objects.yaml").read_text()
    assert "insource.dev/client: my-app" in (tmp_path / "clients.yaml").read_text()
    shell(cluster, stop, folder=tmp_path)
    assert cluster.pods("ledger") == {}
    shell(cluster, go_on, folder=tmp_path)
    cluster.wait(lambda: len(cluster.pods("ledger")) == 1, "the ledger")

    cluster.api.ok("DELETE", MODEL_DEPLOYMENTS.path("voice", "dictation"))
    for name in ("client-my-app", "insource-gateway-master"):
        cluster.api.ok("DELETE", f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/secrets/{name}")
    shell(cluster, "\n".join(f"kubectl apply -f {name}" for name in KEPT if name != "catalogue.yaml"), folder=tmp_path)
    back = cluster.get(MODEL_DEPLOYMENTS.path("voice", "dictation"))
    assert back is not None
    assert back["spec"] == made["spec"]
    assert back["metadata"]["uid"] != made["metadata"]["uid"]
    assert cluster.ours("secrets", "insource-gateway-master") is not None
