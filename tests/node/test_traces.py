"""What is ours in a cluster, told from what is somebody's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.node import cluster
from tests.node.cluster import GIVEN
from tests.node.kubectl import Kubectl
from tests.node.places import NodeError
from tests.node.traces import traces


def thing(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, "spec": spec}


OURS = [
    thing("Namespace", "voice"),
    thing("CustomResourceDefinition", "vendors.insource.dev"),
    thing("ClusterRole", "insource-operator"),
    thing("PersistentVolume", "pvc-1", claimRef={"namespace": "insource-system"}),
]
THEIRS = [
    thing("Node", "insource-node"),
    thing("CSINode", "insource-node"),
    thing("Namespace", "kube-system"),
    thing("ClusterRole", "view"),
    thing("PersistentVolume", "pvc-2", claimRef={"namespace": "shop"}),
    thing("PersistentVolume", "unclaimed"),
]


def having(monkeypatch: pytest.MonkeyPatch, *things: dict[str, Any]) -> None:
    """A cluster with these objects."""

    def answer(_: Kubectl, *words: str, **more: Any) -> str:
        del more
        if words[0] == "api-resources":
            return "nodes\nnamespaces\n"
        return json.dumps({"items": list(things)}) if words[1] == "nodes,namespaces" else "ok"

    monkeypatch.setattr(Kubectl, "__call__", answer)


def test_what_is_ours_is_named_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    having(monkeypatch, *OURS, *THEIRS)
    assert traces(Kubectl(tmp_path)) == [
        "ClusterRole/insource-operator",
        "CustomResourceDefinition/vendors.insource.dev",
        "Namespace/voice",
        "PersistentVolume/pvc-1",
    ]


def test_a_given_cluster_in_which_somebody_has_an_insource_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").touch()
    monkeypatch.setenv(GIVEN, str(tmp_path / "config"))
    chosen = cluster.choose(Console(stderr=True))
    having(monkeypatch, *THEIRS)
    chosen.up()
    having(monkeypatch, *THEIRS, OURS[1])
    with pytest.raises(NodeError, match=r"has an Insource.*vendors\.insource\.dev.*name another cluster"):
        chosen.up()
