"""kubectl and helm, the real ones, asked of both servers: each prints and exits as it was seen to on a real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.commands.golden import FOLDER, golden, prepare
from tests.contract.commands.runner import answers
from tests.contract.commands.scenario import scenarios
from tests.servers import ApiServer

SCENARIOS = scenarios()
CASES = [
    pytest.param(name, place, id=case, marks=pytest.mark.xdist_group(f"commands-{name}"))
    for name, scenario in SCENARIOS.items()
    for place, case in enumerate(scenario.cases())
]
Said = Callable[[str], list[str]]
pytestmark = pytest.mark.timeout(600)
"""The first case of a scenario runs all of its commands."""


@pytest.fixture(scope="session")
def said(api: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Said:
    """What the programs printed against this server, scenario by scenario, each run once."""
    prepare(api)
    found: dict[str, list[str] | Exception] = {}

    def of(scenario: str) -> list[str]:
        if scenario not in found:
            folder: Path = tmp_path_factory.mktemp(scenario)
            try:
                found[scenario] = answers(api, SCENARIOS[scenario], folder)
            except Exception as error:  # the scenario's other commands must fail as well, and say why
                found[scenario] = error
        known = found[scenario]
        if isinstance(known, Exception):
            raise known
        return known

    return of


@pytest.mark.parametrize(("scenario", "place"), CASES)
def test_prints_as_against_a_real_server(said: Said, scenario: str, place: int) -> None:
    assert said(scenario)[place] == golden(scenario)[place]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_command_was_recorded(scenario: str) -> None:
    recorded = [part.partition("\n")[0].removeprefix("$ ") for part in golden(scenario)]
    assert recorded == [command.line for command in SCENARIOS[scenario].commands()]


def test_nothing_is_recorded_that_is_not_run() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(SCENARIOS)
