"""Which cluster the tests of this layer use: a given one, Docker's by kind, or this machine as a node."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import yaml
from rich.console import Console

from tests.node import daemons
from tests.node.images import ROOT, TARGETS, Builder, archive, build, tag_of
from tests.node.kubectl import Kubectl
from tests.node.node import Node, exclusive
from tests.node.packages import call
from tests.node.places import REGISTRY, NodeError, Places, cache_folder
from tests.node.second import Second
from tests.node.traces import traces

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

    @property
    def routed(self) -> bool:
        """Whether this machine reaches the addresses of Services: else requests go by `kubectl port-forward`."""

    def is_up(self) -> bool:
        """Whether it was there before us."""

    def up(self) -> None:
        """Ready, by all means. Raises NodeError."""

    def down(self, *, images: bool = False) -> None:
        """As it was before `up`."""

    def prepare(self) -> None:
        """Build what takes long, and start nothing; what is built is not built again. Raises NodeError."""

    def images(self) -> Images:
        """Build the product's images and bring them to where pods find them. Raises NodeError."""

    def tag(self, images: Images, tag: str) -> None:
        """The same images by another tag, too."""


def release_tag() -> str:
    """The tag that the chart's images have if nothing else is said."""
    return str(yaml.safe_load((ROOT / "charts/insource/Chart.yaml").read_text())["appVersion"])


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
    def routed(self) -> bool:
        return True

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
                self._end()
            try:
                self.node.up()
            except BaseException:
                self.node.console.print(
                    "insource: the node did not get up; its logs stay in " + str(self.node.places.logs)
                )
                self._end()
                raise

    def down(self, *, images: bool = False) -> None:
        places = self.node.places
        with exclusive(places):
            self._end()
            if images:
                shutil.rmtree(places.containerd_root, ignore_errors=True)
                shutil.rmtree(places.second.state, ignore_errors=True)
                shutil.rmtree(places.logs, ignore_errors=True)

    def _end(self) -> None:
        Second(self.node).down()
        self.node.down()

    def prepare(self) -> None:
        _ = self.node.binaries
        build(Builder(self.node.tools, self.node.places), self.node.console)

    def images(self) -> Images:
        builder = Builder(self.node.tools, self.node.places)
        names = build(builder, self.node.console)
        self._bring(self.node, builder, names)
        return Images(REGISTRY, names[0].rpartition(":")[2])

    @contextmanager
    def second(self) -> Iterator[Node]:
        """Another node with the product's images, gone afterwards."""
        second = Second(self.node)
        with exclusive(self.node.places):
            second.up()
        try:
            builder = Builder(self.node.tools, self.node.places)
            self._bring(second.node, builder, build(builder, self.node.console))
            yield second.node
        finally:
            with exclusive(self.node.places):
                second.down()
            self.node.kubectl("delete", "node", second.places.name, "--ignore-not-found")

    def _bring(self, node: Node, builder: Builder, names: list[str]) -> None:
        """To its containerd what that has not: layers that it has from an earlier image are not written again."""
        present = node.images()
        if absent := [each for each in names if each not in present]:
            node.console.print(f"insource: importing {', '.join(absent)}")
            with tempfile.TemporaryDirectory(dir=self.node.places.state) as folder:
                node.ctr("images", "import", archive(builder, absent, node.contents(), Path(folder)))

    def tag(self, images: Images, tag: str) -> None:
        for target in TARGETS:
            other = Images(images.registry, tag).name(target)
            self.node.ctr("images", "tag", "--force", images.name(target), other)


@dataclass
class Given:
    """A cluster that somebody else runs: nothing of it is started or stopped."""

    kubeconfig: Path

    @property
    def routed(self) -> bool:
        return False

    def is_up(self) -> bool:
        return True

    def up(self) -> None:
        if not self.kubeconfig.is_file():
            raise NodeError(f"{GIVEN} names {self.kubeconfig}, which is no file: name the kubeconfig of a test cluster")
        kubectl = Kubectl(self.kubeconfig)
        kubectl("get", "--raw", "/readyz")
        if found := traces(kubectl):
            raise NodeError(
                f"the cluster of {GIVEN} has an Insource, or what its tests have left, and the tests would remove it: "
                f"{', '.join(found[:5])}{' ...' if found[5:] else ''}; name another cluster, or remove that"
            )

    def down(self, *, images: bool = False) -> None:
        del images

    def prepare(self) -> None:
        """Its images are pushed by its user."""

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
    def routed(self) -> bool:
        return False

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

    def prepare(self) -> None:
        images = Images(REGISTRY, tag_of(ROOT))
        for target in TARGETS:
            command = ["docker", "build", "--quiet", "--target", target, "--tag", images.name(target), ROOT]
            call(command, f"building {target}")

    def images(self) -> Images:
        self.prepare()
        images = Images(REGISTRY, tag_of(ROOT))
        for target in TARGETS:
            self._load(images.name(target))
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
