"""What every layer shares: the API servers. `api` asks both; `-m "not cluster"` leaves the real one out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from _pytest.nodeid import coerce_node_id

from tests.cluster.binaries import binaries
from tests.cluster.control_plane import ControlPlane, control_plane
from tests.servers import ApiServer, embedded_server, real_server

USERS = ("operator", "operator-b", "peer", "nobody", "reader")
"""Callers with a token and, until a test binds a role to one, without any right."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give `xdist_group` a meaning: pytest-xdist 3.8 writes the group where pytest 9.2 does not look any more."""
    for item in items:
        named = item.__dict__.get("_nodeid")
        if named is not None and named != item.nodeid:
            item._id = coerce_node_id(named)  # type: ignore[attr-defined]


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
