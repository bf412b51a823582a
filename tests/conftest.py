"""What every layer shares: the API servers. `api` asks both; `-m "not cluster"` leaves the real one out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.nodeid import coerce_node_id
from hypothesis import HealthCheck, settings

from tests.cluster.binaries import binaries
from tests.cluster.control_plane import ControlPlane, control_plane
from tests.servers import ApiServer, embedded_server, real_server

# No test asserts on wall time, and both of these would.
settings.register_profile("insource", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("insource")

USERS = ("operator", "operator-b", "peer", "nobody", "reader")
"""Callers with a token and, until a test binds a role to one, without any right."""


HOMES = {"e2e": ("e2e",), "cluster": ("charts", "cluster", "contract", "operators"), "node": ("node",)}
"""Folders that `make` looks for the tests of a mark in; elsewhere they would never run."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give `xdist_group` a meaning: pytest-xdist 3.8 writes the group where pytest 9.2 does not look any more."""
    for item in items:
        _check_home(item)
        named = item.__dict__.get("_nodeid")
        if named is not None and named != item.nodeid:
            item._id = coerce_node_id(named)  # type: ignore[attr-defined]
    if config.getoption("loadgroup", default=False):
        # The most patient groups first: what is left for the end is short, and no worker waits for another.
        patience: dict[str, float] = defaultdict(float)
        for item in items:
            patience[_group(item)] = max(patience[_group(item)], _timeout(item))
        items.sort(key=lambda item: -patience[_group(item)])


def _check_home(item: pytest.Item) -> None:
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    for mark, homes in HOMES.items():
        if folder not in homes and item.get_closest_marker(mark) is not None:
            raise pytest.UsageError(f"{item.nodeid} is marked {mark}: move it to one of tests/{{{','.join(homes)}}}")


def _group(item: pytest.Item) -> str:
    """What pytest-xdist gives to one worker as a whole, as it names it."""
    return "_".join(sorted({str(mark.args[0]) for mark in item.iter_markers("xdist_group")})) or item.nodeid


def _timeout(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark else 0.0


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real control plane, one for the whole run. Who stops a part of it starts it again."""
    with control_plane(tmp_path_factory.mktemp("plane"), binaries(), USERS) as running:
        yield running


@pytest.fixture(scope="session")
def real_api(plane: ControlPlane) -> Iterator[ApiServer]:
    with real_server(plane) as server:
        yield server


@pytest.fixture(scope="session")
def embedded_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with embedded_server(tmp_path_factory.mktemp("embedded"), USERS) as server:
        yield server


@pytest.fixture(scope="session", params=["embedded", pytest.param("real", marks=pytest.mark.cluster)])
def api(request: pytest.FixtureRequest) -> ApiServer:
    """The embedded API server and, marked `cluster`, a real one: what is written against it holds on both."""
    server: ApiServer = request.getfixturevalue(f"{request.param}_api")
    return server
