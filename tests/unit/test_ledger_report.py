"""The cost report: sums by group, idle shown, honest comparison, nothing unpriced counted as free."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from insource.ledger.attempts import AttemptView, ChargeView
from insource.ledger.occupancy import HOUR_MS, Rate
from insource.ledger.prices import PriceTable, StoredPrice
from insource.ledger.report import CostFacts, CostQuery, cost_report
from insource.ledger.rows import PodSpan
from tests.unit.ledger_building import START_MS, price

UNTIL_MS = START_MS + 2 * HOUR_MS
POD = PodSpan("u1", "voice", "pod-1", "dictation", "inhouse", "rev", "cpu", 1, 1, START_MS, None, approximate=False)
CHEAP = price(40_000_000, vendor="groq", model="whisper-large-v3-turbo", minimum=10_000)
BOOK = PriceTable([price(), CHEAP])


def attempt(name: str, *, vendor: bool = False, audio_ms: int = 60_000, **changes: Any) -> AttemptView:
    view = AttemptView(
        namespace="voice",
        attempt_id=f"{name}.0.1",
        request_id=name,
        hop="",
        number=1,
        deployment="dictation",
        backend="openai" if vendor else "inhouse",
        backend_kind="vendor" if vendor else "inHouse",
        revision="",
        vendor="openai" if vendor else "",
        model="whisper-1" if vendor else "whisper-tiny-en",
        role="spill" if vendor else "serve",
        client="app",
        pod="" if vendor else "pod-1",
        started_at_ms=START_MS + 1_000,
        ended_at_ms=START_MS + 1_000 + HOUR_MS // 10,
        busy_ms=HOUR_MS // 10,
        outcome="ok",
        recorded=True,
        sighted=True,
        agree=True,
        measured={"audio_ms": audio_ms},
        charges=(ChargeView("audio_ms", "measured", audio_ms, audio_ms * 100),) if vendor else (),
    )
    return replace(view, **changes)


def report(*attempts: AttemptView, query: CostQuery | None = None, **changes: Any) -> dict[str, Any]:
    facts = {"pods": (POD,), "rates": {"cpu": (Rate(0, 100_000_000),)}, "prices": BOOK} | changes
    return cost_report(CostFacts(attempts=attempts, **facts), query or CostQuery(START_MS, UNTIL_MS))


def rows(found: dict[str, Any], name: str) -> dict[str, Any]:
    return {row[name]: row for row in found["rows"]}


def test_busy_and_idle_are_the_pods_cost_and_vendors_have_none() -> None:
    found = rows(report(attempt("a"), attempt("b", vendor=True)), "backend")
    assert found["inhouse"]["in_house"]["cost"] == "0.2"
    assert (found["inhouse"]["in_house"]["busy"], found["inhouse"]["in_house"]["idle"]) == ("0.01", "0.19")
    assert found["inhouse"]["in_house"]["per_audio_hour"] == "12.000000"
    assert found["openai"]["in_house"]["cost"] == "0"
    assert found["openai"]["vendor"] == {
        "cost": "0.006", "per_audio_hour": "0.360000", "per_unit": {"audio_ms": "0.360000"},
    }  # fmt: skip


def test_requests_are_counted_once_attempts_each() -> None:
    found = report(
        attempt("a", outcome="server", measured={}),
        attempt("a", vendor=True, number=2, attempt_id="a.0.2"),
        query=CostQuery(START_MS, UNTIL_MS, by="deployment"),
    )
    (row,) = found["rows"]
    assert (row["requests"], row["attempts"], row["audio_seconds"]) == (1, {"ok": 1, "server": 1}, "60.000")


@pytest.mark.parametrize("by", ["deployment", "backend", "role", "day"])
def test_every_grouping_adds_up_to_the_totals(by: Any) -> None:
    day = 24 * HOUR_MS
    views = (
        attempt("a"),
        attempt("b", vendor=True),
        attempt("c", started_at_ms=START_MS + day, ended_at_ms=START_MS + day),
    )
    found = report(*views, query=CostQuery(START_MS, START_MS + 2 * day, by=by))
    for kind, name in (("in_house", "busy"), ("in_house", "idle"), ("vendor", "cost")):
        assert sum(Decimal(row[kind][name]) for row in found["rows"]) == Decimal(found["totals"][kind][name])
    assert Decimal(found["totals"]["in_house"]["cost"]) == Decimal("4.8")
    assert sum(Decimal(row["audio_seconds"]) for row in found["rows"]) == 180


def test_by_role_idleness_has_its_own_line() -> None:
    found = rows(report(attempt("a"), query=CostQuery(START_MS, UNTIL_MS, by="role")), "role")
    assert found["serve"]["in_house"]["busy"] == "0.01"
    assert found["serve"]["in_house"]["per_audio_hour"] is None, "a price without idleness would flatter"
    assert (found["idle"]["in_house"]["busy"], found["idle"]["in_house"]["idle"]) == ("0", "0.19")


def test_saved_is_counterfactual_minus_all_of_the_pods_cost() -> None:
    views = [attempt(f"a{n}", audio_ms=HOUR_MS // 10, busy_ms=1_000) for n in range(10)]
    (compared,) = report(*views, references={("voice", "dictation"): ("openai", "whisper-1")})["comparisons"]
    assert compared["reference"]["counterfactual"] == "0.36"
    assert compared["reference"]["saved"] == "0.16"
    assert compared["reference"]["break_even_audio_hours_per_hour"] == "0.2778"
    assert compared["cheapest"]["vendor"] == "groq"
    assert compared["cheapest"]["saved"] == "-0.16", "a loss is shown as one"
    assert compared["replica_hour"] == "0.1"


def test_minimums_count_per_attempt_in_the_counterfactual() -> None:
    (compared,) = report(attempt("a", audio_ms=5_000), attempt("b", audio_ms=5_000))["comparisons"]
    assert compared["cheapest"]["counterfactual"] == "0.000222222"


@pytest.mark.parametrize("changes", [{"role": "shadow"}, {"outcome": "server"}, {"outcome": "unknown"}])
def test_work_that_nobody_would_have_bought_saves_nothing(changes: dict[str, str]) -> None:
    (compared,) = report(attempt("a", **changes))["comparisons"]
    assert compared["in_house_audio_seconds"] == "0.000"


def test_unpriced_is_counted_and_never_free() -> None:
    unpriced = attempt("a", vendor=True, charges=(ChargeView("audio_ms", "measured", 60_000, None),))
    found = report(unpriced, attempt("b"), rates={})
    assert found["totals"]["unpriced"] == 1
    assert found["totals"]["in_house"]["cost"] is None
    (compared,) = found["comparisons"]
    assert compared["in_house_cost"] is None
    assert compared["reference"]["saved"] is None


def test_a_given_vendor_without_a_price_is_said_to_be_unpriced() -> None:
    query = CostQuery(START_MS, UNTIL_MS, reference=("other", "model"))
    (compared,) = report(attempt("a"), query=query)["comparisons"]
    assert compared["reference"]["counterfactual"] is None
    assert compared["reference"]["break_even_audio_hours_per_hour"] is None


def test_unknown_and_pending_are_shown() -> None:
    found = report(attempt("a", outcome="unknown"), attempt("b", outcome="pending"))
    assert (found["totals"]["unknown"], found["totals"]["pending"]) == (1, 1)


def test_adjacent_periods_add_up() -> None:
    middle = START_MS + 1_234_567
    halves = [CostQuery(START_MS, middle), CostQuery(middle, UNTIL_MS)]
    costs = [Decimal(report(attempt("a"), query=query)["totals"]["in_house"]["cost"]) for query in halves]
    assert sum(costs) == Decimal("0.2")


def test_nothing_at_all_is_an_empty_report() -> None:
    found = report(pods=())
    assert (found["rows"], found["comparisons"]) == ([], [])


def spoken(name: str, characters: int, **changes: Any) -> AttemptView:
    charge = ChargeView("characters", "measured", characters, characters * 15_000)
    charges = {"charges": (charge,)} if changes.get("vendor") else {}
    return attempt(name, measured={"characters": characters}, **charges, **changes)


def test_characters_are_reported_in_their_own_unit() -> None:
    voices = PriceTable([price(15 * 10**9, model="tts-1", unit="characters", per=1_000_000), price()])
    found = report(
        spoken("a", 30_000), spoken("b", 2_000, vendor=True, model="tts-1"), prices=voices,
    )  # fmt: skip
    by_backend = rows(found, "backend")
    assert by_backend["inhouse"]["work"] == {"characters": {"measured": 30_000, "billed": 0}}
    assert by_backend["inhouse"]["in_house"]["per_unit"] == {"characters": "6.666667"}  # 0.2 for 30,000
    assert by_backend["inhouse"]["in_house"]["per_audio_hour"] is None
    assert by_backend["openai"]["vendor"]["per_unit"] == {"characters": "15.000000"}
    (compared,) = found["comparisons"]
    assert (compared["unit"], compared["per"]) == ("characters", "1M characters")
    assert (compared["reference"]["counterfactual"], compared["reference"]["saved"]) == ("0.45", "0.25")
    assert compared["reference"]["price"] == "15"
    assert compared["reference"]["break_even_per_hour"] == "0.0067"  # 0.1 an hour
    assert compared["cheapest"]["model"] == "tts-1"


def test_pictures_and_text_are_compared_in_the_units_that_the_vendor_sells() -> None:
    def sells(model: str, **units: int) -> list[StoredPrice]:
        return [price(nano, model=model, unit=unit, per=1_000_000) for unit, nano in units.items()]

    book = PriceTable(
        [
            *sells("writer", input_tokens=10**9, output_tokens=5 * 10**9),
            *sells("embedder", input_tokens=10**7),
            *sells("painter", input_tokens=5 * 10**9, input_image_tokens=8 * 10**9, image_tokens=33 * 10**9),
            *sells("dear painter", input_tokens=5 * 10**9, image_tokens=40 * 10**9),
            price(4 * 10**7, model="drawer", unit="images", per=1),
        ]
    )
    picture = {"images": 2, "pixels": 2 << 20, "input_tokens": 10, "image_tokens": 2048}
    (compared,) = report(attempt("a", measured=picture), prices=book)["comparisons"]
    assert (compared["cheapest"]["model"], compared["cheapest"]["counterfactual"]) == ("painter", "0.067634")
    text = {"input_tokens": 10**6, "output_tokens": 10**5}
    (compared,) = report(attempt("a", measured=text), prices=book)["comparisons"]
    assert (compared["cheapest"]["model"], compared["cheapest"]["counterfactual"]) == ("writer", "1.5")
    assert (compared["per"], compared["cheapest"]["price"]) == ("1M input tokens", "1.5")
    (compared,) = report(attempt("a", measured={"input_tokens": 10**6}), prices=book)["comparisons"]
    assert (compared["cheapest"]["model"], compared["cheapest"]["counterfactual"]) == ("embedder", "0.01")
