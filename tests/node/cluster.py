"""Which cluster the tests of this layer use: a given one, Docker's by kind, or this machine as a node."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from rich.console import Console

from tests.node import daemons
from tests.node.node import Node, exclusive
from tests.node.packages import call
from tests.node.places import NodeError, Places, cache_folder

GIVEN = "KUBECONFIG_FOR_TESTS"
KIND_NAME = "insource"


class Cluster(Protocol):
    """A cluster with a real node."""

    @property
    def kubeconfig(self) -> Path: ...

    def up(self) -> None:
        """Ready, by all means. Raises NodeError."""

    def down(self, *, images: bool = False) -> None:
        """As it was before `up`."""

    def load(self, images: list[str]) -> None:
        """Images of the builder's store, to where the cluster's nodes find them."""


def kind_of_cluster() -> Literal["given", "kind", "host"]:
    """kind only if Docker answers, and only if it is there to be used."""
    if os.environ.get(GIVEN):
        return "given"
    if shutil.which("kind") and shutil.which("docker"):
        asked = subprocess.run(["docker", "info"], capture_output=True, check=False)
        if asked.returncode == 0:
            return "kind"
    return "host"


def choose(console: Console) -> Cluster:
    match kind_of_cluster():
        case "given":
            return Given(Path(os.environ[GIVEN]))
        case "kind":
            return Kind(console)
        case "host":
            return Host(Node(Places(), console))


@dataclass
class Host:
    """This machine."""

    node: Node

    @property
    def kubeconfig(self) -> Path:
        return self.node.places.kubeconfig

    def up(self) -> None:
        """What is left of an earlier one goes first. One that is Ready stays as it is."""
        with exclusive(self.node.places):
            if self.node.places.run.exists():
                if self.node.ready():
                    self.node.console.print("insource: the node is up already")
                    return
                self.node.console.print("insource: removing what is left of an earlier node")
                self.node.down()
            try:
                self.node.up()
            except BaseException:
                self.node.console.print("insource: the node did not get up; its logs stay in " + str(self.node.places.logs))
                if self.node.places.run.exists():
                    self.node.down()
                raise

    def down(self, *, images: bool = False) -> None:
        places = self.node.places
        with exclusive(places):
            self.node.down()
            if images:
                shutil.rmtree(places.containerd_root, ignore_errors=True)
                shutil.rmtree(places.logs, ignore_errors=True)

    def load(self, images: list[str]) -> None:
        raise NotImplementedError


@dataclass
class Given:
    """A cluster that somebody else runs: nothing of it is started or stopped."""

    kubeconfig: Path

    def up(self) -> None:
        if not self.kubeconfig.is_file():
            raise NodeError(f"{GIVEN} names {self.kubeconfig}, which is no file: name the kubeconfig of a test cluster")
        call(["kubectl", "--kubeconfig", self.kubeconfig, "get", "--raw", "/readyz"], "asking the given cluster")

    def down(self, *, images: bool = False) -> None:
        del images

    def load(self, images: list[str]) -> None:
        raise NotImplementedError


@dataclass
class Kind:
    """Docker runs the node."""

    console: Console

    @property
    def kubeconfig(self) -> Path:
        return cache_folder() / "kind.kubeconfig"

    def up(self) -> None:
        if KIND_NAME in call(["kind", "get", "clusters"], "kind get clusters").split():
            return
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        self.console.print("insource: Docker answers: kind makes the node")
        create = ["kind", "create", "cluster", "--name", KIND_NAME, "--kubeconfig", self.kubeconfig, "--wait", "180s"]
        call(create, "kind create cluster")

    def down(self, *, images: bool = False) -> None:
        del images
        call(["kind", "delete", "cluster", "--name", KIND_NAME, "--kubeconfig", self.kubeconfig], "kind delete cluster")

    def load(self, images: list[str]) -> None:
        raise NotImplementedError


def status() -> int:
    """0 if a node of this machine runs in full."""
    places = Places()
    found = daemons.running(places)
    for name, pid in sorted(found.items()):
        print(f"{name} {pid}")
    if not found:
        print("no node runs on this machine (make cluster-up)")
    return 0 if found else 3
