"""The node, one for the whole run. One that is up already is used and left as it is."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from tests.node import figures, preflight
from tests.node.cluster import Cluster, Host, Images, choose, kind_of_cluster
from tests.node.kubectl import Kubectl
from tests.node.node import Node
from tests.node.places import Places
from tests.node.release import Release
from tests.node.traces import left, sweep, traces


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in figures.NOTED:
        terminalreporter.write_line(f"measured: {line}")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    console = Console(stderr=True)
    chosen = choose(console)
    was_there = chosen.is_up()
    if kind_of_cluster() == "host" and not was_there and (reason := preflight.why_not(Places(), console)):
        pytest.skip(f"NODE LAYER NOT RUN: this machine cannot be a node, because {reason}")
    chosen.up()
    kubectl = Kubectl(chosen.kubeconfig)
    before = traces(kubectl)
    yield chosen
    # What was there before is somebody's; and the tests must leave a cluster as they found it.
    after = left(kubectl) if not before else []
    if not was_there:
        chosen.down()
    assert not after, f"the tests have left {', '.join(after)}"


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Kubectl:
    return Kubectl(cluster.kubeconfig)


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> Images:
    return cluster.images()


@pytest.fixture(scope="session")
def node(cluster: Cluster) -> Node:
    """This machine as a node; tests that reach into it do not run on somebody else's."""
    if not isinstance(cluster, Host):
        pytest.skip("the node is not this machine: its programs cannot be reached")
    return cluster.node


@pytest.fixture(scope="module")
def second(cluster: Cluster, kubectl: Kubectl) -> Iterator[Node]:
    """Another node beside it, for the module: empty, and closed to pods until it is uncordoned."""
    if not isinstance(cluster, Host):
        pytest.skip("a second node is made on this machine only")
    cluster.images()
    with cluster.second() as found:
        kubectl("cordon", found.places.name)
        yield found


@pytest.fixture(scope="session")
def routed(cluster: Cluster) -> None:
    """For tests that replace the gateway's pods under load: a forwarded port ends with the pod that it leads to."""
    if not cluster.routed:
        pytest.skip("this machine has no route to the cluster's Services")


@pytest.fixture(scope="module")
def installed(
    cluster: Cluster, kubectl: Kubectl, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Release]:
    """The chart and a client's key, gone after the module with everything that it was used for."""
    found = Release(kubectl, images, tmp_path_factory.mktemp("release"), routed=cluster.routed)
    began = time.monotonic()
    try:
        found.install()
        figures.note(f"helm install {time.monotonic() - began:.1f} s")
        found.add_client()
        yield found
    finally:
        found.disconnect()
        sweep(kubectl)
