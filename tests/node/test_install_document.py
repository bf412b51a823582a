"""docs/install.md, typed on a fresh node as it stands there, to the first transcript and back to nothing.

Two things differ from what a reader has: the ports of this machine that a command forwards to are free ones, and `helm`
is told to ask for little, because a machine of two processors cannot hold two gateways twice.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.node import figures
from tests.node.cluster import Cluster, Given, Images, release_tag
from tests.node.images import ROOT
from tests.node.kubectl import Kubectl
from tests.node.release import values
from tests.ports import free_ports

pytestmark = [pytest.mark.node, pytest.mark.timeout(1800)]

DOCUMENT = ROOT / "docs/install.md"
_HELM = """#!/bin/sh
case "$1" in install|upgrade) exec {helm} "$@" --values {values} ;; *) exec {helm} "$@" ;; esac
"""


def blocks(title: str) -> list[str]:
    """The section's commands, in order."""
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    return re.findall(r"```sh\n(.*?)```", found, re.DOTALL)


class Reader:
    """Somebody at the repository's root whose kubeconfig is the cluster's."""

    def __init__(self, kubectl: Kubectl, images: Images, folder: Path) -> None:
        helm = shutil.which("helm", path=kubectl.environment()["PATH"])
        small = folder / "small.yaml"
        asked = values(images)
        kept = {part: {"resources": asked[part]["resources"]} for part in ("operator", "ledger", "gateway")}
        small.write_text(yaml.safe_dump(kept))
        (folder / "bin").mkdir()
        (folder / "bin/helm").write_text(_HELM.format(helm=helm, values=small))
        (folder / "bin/helm").chmod(0o755)
        # A reader sees that the forwarding is there before they go on.
        (folder / ".curlrc").write_text("retry = 60\nretry-connrefused\nretry-delay = 1\nsilent\nfail-with-body\n")
        self._environment = {
            **kubectl.environment(),
            "PATH": f"{folder / 'bin'}:{kubectl.environment()['PATH']}",
            "CURL_HOME": str(folder),
            "REGISTRY": images.registry,
        }
        self._ports = dict(zip(("8080", "8081"), map(str, free_ports(2)), strict=True))

    def type(self, text: str) -> str:
        for written, free in self._ports.items():
            text = text.replace(f" {written}:", f" {free}:").replace(f"127.0.0.1:{written}", f"127.0.0.1:{free}")
        script = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + text
        done = subprocess.run(
            ["bash", "-c", script], cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def test_install_as_it_is_written(cluster: Cluster, kubectl: Kubectl, images: Images, tmp_path: Path) -> None:
    if isinstance(cluster, Given) and images.tag != release_tag():
        pytest.skip(f"the document's commands use the images by the tag {release_tag()}")
    cluster.tag(images, release_tag())
    reader = Reader(kubectl, images, tmp_path)
    began = time.monotonic()
    for title in ("Install", "A client", "A model"):
        for block in blocks(title):
            reader.type(block)
    transcript, cost = blocks("The first transcript")
    said = reader.type(transcript)
    figures.note(f"docs/install.md, from `helm install` to the first transcript: {time.monotonic() - began:.1f} s")
    assert "text" in said
    assert "inhouse" in reader.type(cost)
    for block in (*blocks("Upgrade and rollback"), *blocks("Uninstall")):
        reader.type(block)
    assert "insource.dev" not in kubectl("get", "crd", "-o", "name")
    kubectl("delete", "namespace", "voice", "--timeout=120s")
