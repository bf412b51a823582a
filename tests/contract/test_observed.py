"""Each observation of the real API server, asked of both: byte for byte, but for uids, times, ages and versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.binaries import binaries
from tests.cluster.control_plane import control_plane
from tests.conftest import USERS
from tests.contract.observed.scenarios import SCENARIOS, golden, observe, prepare
from tests.servers import ApiServer, embedded_server, real_server

GOLDEN = golden()


@pytest.fixture(scope="module", params=["embedded", pytest.param("real", marks=pytest.mark.cluster)])
def unused(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A server that nobody else asks, as the recorded one was: how far back a watch can begin depends on the others."""
    folder = tmp_path_factory.mktemp("observed")
    if request.param == "embedded":
        with embedded_server(folder, USERS) as server:
            yield server
    else:
        with control_plane(folder, binaries(), USERS) as plane, real_server(plane) as server:
            yield server


@pytest.fixture(scope="module")
def seen(unused: ApiServer) -> Any:
    """What this server answered, scenario by scenario, each asked once."""
    prepare(unused)
    found: dict[str, Any] = {}

    def of(scenario: str) -> dict[str, Any]:
        if scenario not in found:
            try:
                found[scenario] = observe(unused, scenario)
            except Exception as error:  # the scenario's other observations must fail as well, and say why
                found[scenario] = error
        if isinstance(found[scenario], Exception):
            raise found[scenario]
        return dict(found[scenario])

    return of


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.xdist_group("observed")
def test_answers_as_a_real_server(seen: Any, name: str) -> None:
    scenario, expected = GOLDEN[name]
    assert seen(scenario)[name] == expected


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.xdist_group("observed")
def test_nothing_is_observed_that_was_not_recorded(seen: Any, scenario: str) -> None:
    assert set(seen(scenario)) == {name for name, (its, _) in GOLDEN.items() if its == scenario}


def test_there_are_no_fewer_than_the_research_counts() -> None:
    assert len(GOLDEN) >= 195
