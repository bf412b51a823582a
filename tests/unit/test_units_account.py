"""The account of units itself: each way in which a request may be lost, doubled or miscounted is found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.units_account import CUT, NOT_BILLED, NOTHING, Books, Entry, account
from tests.gateway.units_work import Leaving, chat, speech

WORK = chat(3)
TEXT = speech(5)


def line(bill: dict[str, int], nano: int) -> dict[str, Any]:
    return {"nano_usd": nano, "items": [{"unit": unit, "quantity": quantity} for unit, quantity in bill.items()]}


def entries() -> dict[str, Entry]:
    """One that was answered, and three whose clients left: in the upload, during the call, during the answer."""
    answered = Entry("chat", "stays", "r1", "ok", dict(WORK.consumed), 7, ["ok"], [line(dict(WORK.bill), 7)])
    upload = Entry("chat", "upload", "r2", "gone", {}, 0, ["gone"])
    before = Entry("speech", "before", "r3", "gone", dict(TEXT.consumed), 9, ["gone"])
    during = Entry("speech", "during", "r4", "gone", dict(TEXT.consumed), 9, ["gone"], [line(dict(TEXT.bill), 9)])
    return {"r1.0.1": answered, "r2.0.1": upload, "r3.0.1": before, "r4.0.1": during}


def judged(found: dict[str, Entry], **changes: Any) -> Any:
    metrics: dict[tuple[str, str, str], int] = {}
    for entry in entries().values():
        for (unit, source), quantity in entry.quantities.items():
            key = (entry.deployment, unit, source)
            metrics[key] = metrics.get(key, 0) + quantity
    sent = [(Leaving.STAYS, WORK), (Leaving.UPLOAD, WORK), (Leaving.BEFORE, TEXT), (Leaving.DURING, TEXT)]
    books = Books(found, changes.get("unseen", frozenset()), changes.get("strays", ()))
    return account(books, sent, {"r1": WORK}, metrics)


def test_what_is_equal_or_has_a_name_is_right() -> None:
    found = judged(entries())
    assert found.wrong == ()
    assert {fate: count for fate, count in found.left.items() if count} == {NOTHING: 1, NOT_BILLED: 1, CUT: 1}
    assert all(row.ledger == row.expected and row.bill in (None, row.expected) for row in found.rows)
    assert found.nano["answered"] == (7, 7)


def lost(found: dict[str, Entry]) -> None:
    del found["r1.0.1"]


def lost_upload(found: dict[str, Entry]) -> None:
    del found["r2.0.1"]


def unsighted(found: dict[str, Entry]) -> None:
    found["r1.0.1"].sightings.clear()


def billed_twice(found: dict[str, Entry]) -> None:
    found["r1.0.1"].lines *= 2


def counted_wrongly(found: dict[str, Entry]) -> None:
    found["r1.0.1"].quantities["input_tokens", "billed"] += 1


def not_counted(found: dict[str, Entry]) -> None:
    found["r4.0.1"].quantities.clear()


def charged_wrongly(found: dict[str, Entry]) -> None:
    found["r1.0.1"].charged_nano = 0


def free(found: dict[str, Entry]) -> None:
    found["r4.0.1"].lines.clear()


def upload_consumed(found: dict[str, Entry]) -> None:
    found["r2.0.1"].quantities["input_tokens", "measured"] = 4


def seen_otherwise(found: dict[str, Entry]) -> None:
    found["r3.0.1"].sightings[0] = "ok"


def other_characters(found: dict[str, Entry]) -> None:
    found["r4.0.1"].quantities["characters", "measured"] -= 1


@pytest.mark.parametrize(
    "spoil",
    [
        lost, lost_upload, unsighted, billed_twice, counted_wrongly, not_counted, charged_wrongly, free,
        upload_consumed, seen_otherwise, other_characters,
    ],
)  # fmt: skip
def test_what_is_not_is_told(spoil: Callable[[dict[str, Entry]], None]) -> None:
    found = copy.deepcopy(entries())
    spoil(found)
    assert judged(found).wrong


def test_what_the_gateway_alone_saw_must_be_what_is_missing() -> None:
    found = entries()
    assert judged(found, unseen=frozenset({"r9.0.1"})).wrong
    del found["r2.0.1"]
    assert judged(found, unseen=frozenset({"r2.0.1"})).wrong == ()
    assert judged(entries(), strays=("r9.0.1: only the vendor's bill knows of it",)).wrong
