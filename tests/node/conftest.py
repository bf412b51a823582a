"""The node, one for the whole run. One that is up already is used and left as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.console import Console

from tests.node import figures, machine
from tests.node.cluster import Cluster, Host, Images, choose, kind_of_cluster
from tests.node.kubectl import Kubectl
from tests.node.node import Node


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in figures.NOTED:
        terminalreporter.write_line(f"measured: {line}")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if kind_of_cluster() == "host" and (reason := machine.why_not()):
        pytest.skip(f"node layer not run: {reason}")
    chosen = choose(Console(stderr=True))
    was_there = chosen.is_up()
    chosen.up()
    yield chosen
    if not was_there:
        chosen.down()


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
