"""A real control plane with nodes of KWOK, for one module's releases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.charts.cluster import USERS, Cluster
from tests.cluster.binaries import binaries
from tests.cluster.control_plane import control_plane
from tests.cluster.kwok import kwok
from tests.servers import ApiServer


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with control_plane(folder, binaries(), USERS) as plane, kwok(plane, nodes=2):
        yield Cluster(ApiServer("real", plane.url, plane.credentials, plane.audit_log), folder)
