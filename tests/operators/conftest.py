"""`cluster`: an API server with all that the operator needs around it: the embedded one and, marked, a real one.

One of each for all modules of this folder: who stops a part of it starts it again.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.operators.cluster import USERS, OperatorCluster, operator_cluster
from tests.operators.pair import Pair
from tests.operators.servers import embedded, real

SERVERS = {"embedded": embedded, "real": real}


@pytest.fixture(scope="package", params=["embedded", pytest.param("real", marks=pytest.mark.cluster)])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorCluster]:
    folder = tmp_path_factory.mktemp(request.param)
    with SERVERS[request.param](folder, USERS) as server, operator_cluster(server, folder) as running:
        yield running


@pytest.fixture(scope="module")
def pair(cluster: OperatorCluster) -> Iterator[Pair]:
    """Two operators for a whole module: who freezes one lets it go on."""
    with cluster.pair() as running:
        yield running
