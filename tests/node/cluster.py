"""Which cluster the tests of this layer use: a given one, Docker's by kind, or this machine as a node."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from rich.console import Console

from tests.node import daemons
from tests.node.images import ROOT, TARGETS, Builder, archive, build, tag_of
from tests.node.node import Node, exclusive
from tests.node.packages import call
from tests.node.places import REGISTRY, NodeError, Places, cache_folder

GIVEN = "KUBECONFIG_FOR_TESTS"
GIVEN_IMAGES = "IMAGES_FOR_TESTS"
KIND_NAME = "insource"


@dataclass(frozen=True)
class Images:
    """Where a chart finds the product: its `global.imageRegistry`, and the tag of all three."""

    registry: str
    tag: str

    def name(self, target: str) -> str:
        return f"{self.registry}/insource/{target}:{self.tag}"


class Cluster(Protocol):
    """A cluster with a real node."""

    @property
    def kubeconfig(self) -> Path: ...

    def is_up(self) -> bool:
        """Whether it was there before us."""

    def up(self) -> None:
        """Ready, by all means. Raises NodeError."""

    def down(self, *, images: bool = False) -> None:
        """As it was before `up`."""

    def images(self) -> Images:
        """Build the product's images and bring them to where pods find them. Raises NodeError."""

    def tag(self, images: Images, tag: str) -> None:
        """The same images by another tag, too."""


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

    def is_up(self) -> bool:
        return self.node.places.run.exists() and self.node.ready()

    def up(self) -> None:
        """What is left of an earlier one goes first. One that is Ready stays as it is."""
        with exclusive(self.node.places):
            if self.is_up():
                self.node.console.print("insource: the node is up already")
                return
            if self.node.is_begun():
                self.node.console.print("insource: removing what is left of an earlier node")
                self.node.down()
            try:
                self.node.up()
            except BaseException:
                self.node.console.print(
                    "insource: the node did not get up; its logs stay in " + str(self.node.places.logs)
                )
                self.node.down()
                raise

    def down(self, *, images: bool = False) -> None:
        places = self.node.places
        with exclusive(places):
            self.node.down()
            if images:
                shutil.rmtree(places.containerd_root, ignore_errors=True)
                shutil.rmtree(places.logs, ignore_errors=True)

    def images(self) -> Images:
        node = self.node
        builder = Builder(node.tools, node.places)
        names = build(builder, node.console)
        present = node.images()
        for name in (each for each in names if each not in present):
            node.console.print(f"insource: importing {name}")
            with tempfile.TemporaryDirectory(dir=node.places.state) as folder:
                node.ctr("images", "import", archive(builder, name, Path(folder)))
        return Images(REGISTRY, names[0].rpartition(":")[2])

    def tag(self, images: Images, tag: str) -> None:
        for target in TARGETS:
            other = Images(images.registry, tag).name(target)
            self.node.ctr("images", "tag", "--force", images.name(target), other)


@dataclass
class Given:
    """A cluster that somebody else runs: nothing of it is started or stopped."""

    kubeconfig: Path

    def is_up(self) -> bool:
        return True

    def up(self) -> None:
        if not self.kubeconfig.is_file():
            raise NodeError(f"{GIVEN} names {self.kubeconfig}, which is no file: name the kubeconfig of a test cluster")
        call(["kubectl", "--kubeconfig", self.kubeconfig, "get", "--raw", "/readyz"], "asking the given cluster")

    def down(self, *, images: bool = False) -> None:
        del images

    def images(self) -> Images:
        registry, _, tag = os.environ.get(GIVEN_IMAGES, "").rpartition(":")
        if not registry:
            raise NodeError(
                f"{GIVEN} names a cluster of yours, so say where its nodes find the images: push the targets of the "
                f"Dockerfile as REGISTRY/insource/{{insource,gateway,servers}}:TAG and set {GIVEN_IMAGES}=REGISTRY:TAG"
            )
        return Images(registry, tag)

    def tag(self, images: Images, tag: str) -> None:
        if images.tag != tag:
            raise NodeError(f"this needs the images by the tag {tag}: push them so, and set {GIVEN_IMAGES} to it")


@dataclass
class Kind:
    """Docker runs the node."""

    console: Console

    @property
    def kubeconfig(self) -> Path:
        return cache_folder() / "kind.kubeconfig"

    def is_up(self) -> bool:
        return KIND_NAME in call(["kind", "get", "clusters"], "kind get clusters").split()

    def up(self) -> None:
        if self.is_up():
            return
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        self.console.print("insource: Docker answers: kind makes the node")
        create = ["kind", "create", "cluster", "--name", KIND_NAME, "--kubeconfig", self.kubeconfig, "--wait", "180s"]
        call(create, "kind create cluster")

    def down(self, *, images: bool = False) -> None:
        del images
        call(["kind", "delete", "cluster", "--name", KIND_NAME, "--kubeconfig", self.kubeconfig], "kind delete cluster")

    def images(self) -> Images:
        images = Images(REGISTRY, tag_of(ROOT))
        for target in TARGETS:
            name = images.name(target)
            call(["docker", "build", "--quiet", "--target", target, "--tag", name, ROOT], f"building {target}")
            self._load(name)
        return images

    def tag(self, images: Images, tag: str) -> None:
        for target in TARGETS:
            other = Images(images.registry, tag).name(target)
            call(["docker", "tag", images.name(target), other], "docker tag")
            self._load(other)

    def _load(self, name: str) -> None:
        call(["kind", "load", "docker-image", "--name", KIND_NAME, name], f"loading {name}")


def status() -> int:
    """0 if a node of this machine runs in full."""
    places = Places()
    found = daemons.running(places)
    for name, pid in sorted(found.items()):
        print(f"{name} {pid}")
    if not found:
        print("no node runs on this machine (make cluster-up)")
    return 0 if found else 3
