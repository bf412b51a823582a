"""What the node's programs are told, and what `up` and `down` decide: needs no node."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from tests.node import cluster, daemons, files
from tests.node.__main__ import main
from tests.node.cluster import GIVEN, GIVEN_IMAGES, Given
from tests.node.images import ROOT, TARGETS, inputs, tag_of
from tests.node.machine import check_free
from tests.node.node import pause_image
from tests.node.packages import Tools
from tests.node.places import NodeError, Places
from tests.node.volumes import volume


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(run=tmp_path / "run", state=tmp_path / "state")


def test_everything_that_listens_is_checked_before_it_starts(places: Places) -> None:
    told = " ".join([files.kubelet(places), files.kube_proxy(places), files.corefile(places)])
    ports = {int(found) for found in re.findall(r"\b3\d{4}\b|\b6443\b", told)}
    assert ports <= {port for _, port in places.listeners().values()}


def test_a_taken_port_is_named_with_the_next_step(places: Places) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NodeError, match=rf"port {port}, which etcd of the node needs, is taken.*ss -ltnp"):
            check_free(Places(etcd_port=port), Tools(places.run))


def test_dns_answers_the_clusters_names_before_it_denies_the_rest(places: Places) -> None:
    corefile = files.corefile(places)
    assert corefile.index("kubernetes cluster.local") < corefile.index("template ANY ANY")
    assert corefile.count(f"bind {places.gateway}") == 2


def test_pods_have_a_route_to_services_and_other_pods_only(places: Places) -> None:
    (bridge,) = json.loads(files.pod_network(places))["plugins"]
    assert bridge["ipam"]["routes"] == [{"dst": places.services}, {"dst": places.cluster}]
    assert bridge["ipMasq"] is False


def test_a_claim_gets_a_volume_of_its_own_that_ends_with_it(places: Places) -> None:
    claim = {
        "metadata": {"name": "data", "namespace": "a", "uid": "1-2"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    made = volume(places, claim)
    assert made["spec"]["claimRef"]["uid"] == "1-2"
    assert made["spec"]["local"]["path"] == str(places.volumes / "pvc-1-2")
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
    (default,) = [each for each in files.base_objects(places) if each["kind"] == "StorageClass"]
    assert default["metadata"]["name"] == made["spec"]["storageClassName"]


def test_a_kubeconfig_is_one_that_kubectl_reads(places: Places) -> None:
    document = yaml.safe_load(files.kubeconfig(places, "secret"))
    assert document["current-context"] == "node"
    assert document["clusters"][0]["cluster"]["server"] == places.url


def test_a_program_is_found_again_by_its_mark_and_its_children_are_not(places: Places) -> None:
    places.run.mkdir()
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    pid = daemons.start(places, "sleeper", [sys.executable, "-c", script], {"PATH": "/usr/bin:/bin"})
    try:
        daemons.wait_until(places, lambda: "sleeper" in daemons.running(places), "the program")
        assert daemons.running(places) == {"sleeper": pid}
        assert not daemons.running(Places(run=places.run / "other"))
    finally:
        subprocess.run(["pkill", "-9", "-P", str(pid)], check=False)
        daemons.stop(places, "sleeper")
    assert not daemons.running(places)


def test_a_program_that_ended_is_named_with_its_last_words(places: Places) -> None:
    places.run.mkdir()
    daemons.start(places, "etcd", [sys.executable, "-c", "raise SystemExit('fatal: no room')"], {"PATH": "/usr/bin"})
    with pytest.raises(NodeError, match=r"etcd has ended: fatal: no room\nIts log: .*etcd.log"):
        daemons.wait_until(places, lambda: False, "etcd", ["etcd"])


def test_the_pause_image_holds_one_program(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    assert pause_image(program, tmp_path).stat().st_size > 0
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest[0]["RepoTags"] == ["registry.test/pause:1"]


def test_a_tag_says_what_an_image_was_made_of(tmp_path: Path) -> None:
    for path in inputs(ROOT):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    before = tag_of(tmp_path)
    assert before == tag_of(ROOT)
    for name in ("operator/compiled.pyc", "README.md", "requirements/dev.txt", "docs.md"):
        (tmp_path / name).write_text("a")
    assert tag_of(tmp_path) == before
    (tmp_path / "operator/program.py").write_text("a")
    assert tag_of(tmp_path) != before


def test_a_tag_covers_everything_that_the_builder_sees() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    seen = [ROOT / line[1:] for line in lines if line.startswith("!")]
    named = set(inputs(ROOT))
    assert all(path in named if path.is_file() else named & set(path.rglob("*")) for path in seen)


def test_every_target_is_one_of_the_dockerfile() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert set(TARGETS) <= set(stages)


def test_a_machine_that_cannot_be_a_node_says_so_by_a_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "kind_of_cluster", lambda: "host")
    monkeypatch.setattr(cluster.Host, "is_up", lambda _: False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for command in ("preflight", "up", "test"):
        assert main([command]) == 77
        said = capsys.readouterr().err
        assert said.startswith("NODE LAYER NOT RUN: this machine cannot be a node, because it needs root")


def test_trouble_is_a_failure_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv(GIVEN, str(tmp_path / "absent"))
    assert main(["up"]) == 1
    assert "name the kubeconfig of a test cluster" in capsys.readouterr().err


def test_a_given_cluster_needs_to_be_told_where_its_images_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(GIVEN, str(tmp_path / "absent"))
    chosen = cluster.choose(Console(stderr=True))
    assert isinstance(chosen, Given)
    with pytest.raises(NodeError, match="absent, which is no file"):
        chosen.up()
    monkeypatch.delenv(GIVEN_IMAGES, raising=False)
    with pytest.raises(NodeError, match=GIVEN_IMAGES):
        chosen.images()
    monkeypatch.setenv(GIVEN_IMAGES, "registry.example.com:5000/mirror:v1")
    assert chosen.images().name("gateway") == "registry.example.com:5000/mirror/insource/gateway:v1"
