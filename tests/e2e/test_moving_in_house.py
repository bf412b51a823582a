"""What is bought from Microsoft today moves in-house by the words in its example, and no caller notices."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.example_rows import MAI, Row, attempts, client, name_of
from tests.e2e.installation import EXAMPLES, Installation

pytestmark = [pytest.mark.e2e, pytest.mark.models, pytest.mark.timeout(300), pytest.mark.xdist_group("e2e-moving")]

Attempts = dict[str, list[dict[str, Any]]]
"""By example: the attempts of the call before the move, of one in its midst, and of one after it."""


@pytest.fixture(scope="module")
def seen(installation: Installation) -> Attempts:
    """All examples move at once; each is called, by the same call, three times."""
    # Beside them one that hears in-house all the time: it listens to what was spoken.
    files = ["transcription", *(row.example for row in MAI)]
    for name in files:
        installation.kubectl("apply", "-f", str(EXAMPLES / f"{name}.yaml"))
    for name in ("dictation", *(name_of(row.deployment) for row in MAI)):
        installation.wait_ready(name)
    before = {row.example: call(installation, row) for row in MAI}
    installation.apply(*(row.moved for row in MAI))
    midst = {row.example: call(installation, row) for row in MAI}
    for row in MAI:
        installation.wait_ready(name_of(row.deployment))
    after = {row.example: call(installation, row) for row in MAI}
    return {
        row.example: [attempts(installation, each[row.example])[-1] for each in (before, midst, after)] for row in MAI
    }


def call(installation: Installation, row: Row) -> str:
    with client(installation, name_of(row.deployment)) as sdk:
        return row.inhouse(sdk, installation)


@pytest.mark.parametrize("row", MAI, ids=lambda row: row.example)
def test_the_same_call_is_answered_by_the_vendor_and_then_in_house(seen: Attempts, row: Row) -> None:
    before, midst, after = seen[row.example]
    assert [each["outcome"] for each in (before, midst, after)] == ["ok", "ok", "ok"]
    assert (before["backend"], before["vendor"], before["role"]) == ("azure", row.seller, "serve")
    assert (after["backend"], after["backend_kind"], after["role"]) == ("inhouse", "inHouse", "serve")
    assert {unit: before["measured"][unit] for unit in row.units} == {
        unit: after["measured"][unit] for unit in row.units
    }
    assert before["charges"]
    assert not after["charges"], "in-house work is paid by the pod's hour"
