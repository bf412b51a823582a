"""Every example works as it stands there: applied, called by the OpenAI SDK and charged, in-house and by its vendor.

Those of MAI models are bought as they stand: `test_moving_in_house.py` moves them.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.example_rows import MAI, ROWS, Row, agrees_with_the_bill, attempts, client, name_of
from tests.e2e.installation import EXAMPLES, Installation

pytestmark = [pytest.mark.e2e, pytest.mark.models, pytest.mark.timeout(300), pytest.mark.xdist_group("e2e-examples")]

IN_HOUSE = tuple(row for row in ROWS if not row.is_bought)


@pytest.fixture(scope="module")
def served(installation: Installation) -> Installation:
    """With every example and its twins applied at once."""
    for row in ROWS:
        installation.kubectl("apply", "-f", str(EXAMPLES / f"{row.example}.yaml"))
    installation.apply(*(row.by_vendor for row in IN_HOUSE), *(row.cold for row in MAI))
    for row in ROWS:
        installation.wait_ready(name_of(row.deployment))
        installation.wait_ready(name_of(row.by_vendor))
    return installation


def test_no_example_is_left_out() -> None:
    not_a_row = {"by-name", "vendor-openai", "vendor-azure-speech", "vendor-azure-images"}
    assert {path.stem for path in Path(EXAMPLES).glob("*.yaml")} - not_a_row == {row.example for row in ROWS}


@pytest.mark.parametrize("row", IN_HOUSE, ids=lambda row: row.example)
def test_in_house(served: Installation, row: Row) -> None:
    with client(served, name_of(row.deployment)) as sdk:
        (attempt,) = attempts(served, row.inhouse(sdk, served))
    assert (attempt["backend"], attempt["role"], attempt["outcome"]) == ("inhouse", "serve", "ok")
    assert row.units <= {unit for unit, quantity in attempt["measured"].items() if quantity > 0}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.example)
def test_bought(served: Installation, row: Row) -> None:
    name = name_of(row.by_vendor)
    with client(served, name) as sdk:
        (attempt,) = attempts(served, row.vendor(sdk, served))
    assert (attempt["backend_kind"], attempt["vendor"], attempt["role"]) == ("vendor", row.seller, "serve")
    assert attempt["outcome"] == "ok"
    assert row.units <= {unit for unit, quantity in attempt["measured"].items() if quantity > 0}
    agrees_with_the_bill(served, row, attempt)
    (cost,) = [
        each
        for each in served.ledger("/v1/cost", namespace="voice", by="deployment")["rows"]
        if each["deployment"] == name
    ]
    assert (cost["requests"], cost["attempts"], cost["unpriced"]) == (1, {"ok": 1}, 0)
    assert Decimal(cost["vendor"]["cost"]) > 0


@pytest.mark.parametrize("row", MAI, ids=lambda row: row.example)
def test_what_has_no_place_in_house_spills_to_the_mai_vendor(served: Installation, row: Row) -> None:
    with client(served, name_of(row.cold)) as sdk:
        (attempt,) = attempts(served, row.inhouse(sdk, served))
    assert (attempt["backend"], attempt["vendor"], attempt["role"]) == ("azure", row.seller, "spill")
    assert sum(Decimal(charge["amount"]) for charge in attempt["charges"]) > 0
    agrees_with_the_bill(served, row, attempt)
