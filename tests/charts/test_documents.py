"""What the documents tell a newcomer to type works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from insource.api.meta import SYSTEM_NAMESPACE
from insource.kube.resources import MODEL_DEPLOYMENTS
from tests.charts.cluster import Cluster
from tests.charts.helm import ROOT, VALUES
from tests.charts.programs import OPERATOR, programs, user_of
from tests.charts.values_table import DOCUMENT, with_table

SHOWN = ("public.yaml", "ingress.yaml", "mirror.yaml", "small.yaml", "teams.yaml")
REGISTRY = "registry.example.com/mirror"


def section(title: str) -> list[str]:
    """Its blocks of commands, in order."""
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    return re.findall(r"```sh\n(.*?)```", found, re.DOTALL)


def shell(cluster: Cluster, text: str, folder: Path = ROOT) -> str:
    """Typed in a folder by somebody whose kubeconfig is the cluster's."""
    homes = {f"HELM_{kind}_HOME": str(cluster.folder / kind) for kind in ("CACHE", "CONFIG", "DATA")}
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", "set -euo pipefail\n" + text.replace(".venv/bin/insource", f"{sys.executable} -m insource")],
        cwd=folder,
        env={
            **os.environ,
            **homes,
            "PATH": programs,
            "KUBECONFIG": str(cluster.api.kubeconfig()),
            "REGISTRY": REGISTRY,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.cluster
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("chart-documents")
def test_install_as_it_is_written(cluster: Cluster, tmp_path: Path) -> None:
    cluster.volume()
    api = cluster.api
    for block in (*section("Install"), *section("A client")):
        shell(cluster, block)
    pods = api.ok("GET", f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods")["items"]
    images = {each["image"] for pod in pods for each in pod["spec"]["containers"]}
    assert images == {f"{REGISTRY}/insource/insource:0.1.0", f"{REGISTRY}/insource/gateway:0.1.0"}
    with (
        programs(api, tmp_path) as (operators, _),
        operators.operator(user_of(OPERATOR), api.kubeconfig(OPERATOR)),
    ):
        for block in section("A model"):
            said = shell(cluster, block)
        assert "dictation" in said
        for block in section("Upgrade and rollback"):
            shell(cluster, block)
        assert operators.ready("voice", "dictation")
        drain, lose_everything = section("Uninstall")
        assert "voice/dictation: 1 -> 0" in shell(cluster, drain)
    assert cluster.get(MODEL_DEPLOYMENTS.path("voice", "dictation")) is not None
    shell(cluster, lose_everything)
    assert api.request("GET", MODEL_DEPLOYMENTS.path("voice", "dictation")).status == 404
    cluster.wait(lambda: cluster.get(f"/api/v1/namespaces/{SYSTEM_NAMESPACE}") is None, "the namespace's end")


def test_every_value_is_in_the_table() -> None:
    assert DOCUMENT.read_text() == with_table(DOCUMENT.read_text()), "run `python -m tests.charts.values_table`"


def test_the_values_of_the_pages_are_those_that_are_tested() -> None:
    shown = {
        name: text
        for page in (ROOT / "docs" / "how-to").glob("*.md")
        for name, text in re.findall(r"```yaml file=(\S+)\n(.*?)```", page.read_text(), re.DOTALL)
    }
    assert shown == {name: (VALUES / name).read_text() for name in SHOWN}


def test_every_link_of_the_documents_leads_somewhere() -> None:
    documents = [DOCUMENT, *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
    for document in documents:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
