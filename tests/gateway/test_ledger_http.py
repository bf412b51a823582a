"""The ledger over real HTTP: who may do what, bad input, reservations, views. Serving goes on after each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from insource.wire.records import RecordBatch, SightingBatch
from insource.wire.vocabulary import BackendKind, Outcome, Role
from tests.gateway.ledger_harness import Ledger, running_ledger
from tests.unit.ledger_building import START_MS, ended, price, sighted, started

pytestmark = pytest.mark.gateway


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with running_ledger(tmp_path) as running:
        yield running


def reservation(request_id: str = "r1", **changes: Any) -> str:
    fields = {
        "attempt_id": f"{request_id}.0.1",
        "deployment": "dictation",
        "backend": "openai",
        "vendor": "openai",
        "model": "whisper-1",
        "daily_limit": "0.01",
        "unit": "audio_ms",
        "quantity": 10_000,
    }
    return json.dumps(fields | changes)


@pytest.mark.parametrize(
    ("token", "path", "status", "kind"),
    [
        ("", "/v1/records", 401, "authentication_error"),
        ("wrong", "/v1/records", 401, "authentication_error"),
        ("wrong", "/v1/sightings", 401, "authentication_error"),
        ("wrong", "/v1/reservations", 401, "authentication_error"),
        ("gateway", "/v1/records", 403, "permission_error"),
        ("person", "/v1/records", 403, "permission_error"),
        ("cli", "/v1/records", 403, "permission_error"),
        ("cli", "/v1/reservations", 403, "permission_error"),
        ("own-account", "/v1/sightings", 403, "permission_error"),
        ("adapter", "/v1/sightings", 403, "permission_error"),
        ("false-gateway", "/v1/sightings", 403, "permission_error"),
    ],
)
async def test_who_may_write_what(ledger: Ledger, token: str, path: str, status: int, kind: str) -> None:
    answered, body, _ = await ledger.post(path, RecordBatch(records=()), token)
    assert (answered, body["error"]["type"]) == (status, kind)
    assert "wrong" not in body["error"]["message"]
    await ledger.still_serves()


async def test_a_pod_with_another_service_account_sends_records_of_its_namespace_and_reads_none(ledger: Ledger) -> None:
    status, _, _ = await ledger.records(started("a"), token="own-account")
    assert status == 200
    _, body = await ledger.get("/v1/attempts", namespace="voice")
    assert [row["attempt_id"] for row in body["attempts"]] == ["a.0.1"]
    assert (await ledger.get("/v1/cost", token="own-account"))[0] == 403


@pytest.mark.parametrize(("token", "status"), [("wrong", 401), ("adapter", 403), ("cli", 200), ("gateway", 200)])
async def test_who_may_read(ledger: Ledger, token: str, status: int) -> None:
    for path in ("/v1/cost", "/v1/attempts"):
        assert (await ledger.get(path, token))[0] == status


async def test_the_namespace_is_the_tokens(ledger: Ledger) -> None:
    await ledger.records(started("a"), token="adapter")
    await ledger.records(started("b"), token="other-adapter")
    _, body = await ledger.get("/v1/attempts", namespace="other")
    assert [row["attempt_id"] for row in body["attempts"]] == ["b.0.1"]


async def test_known_tokens_work_while_the_cluster_is_away_and_only_for_a_minute(ledger: Ledger) -> None:
    assert (await ledger.records(started()))[0] == 200
    ledger.reviewer.away = True
    assert (await ledger.records(ended()))[0] == 200
    status, body, headers = await ledger.post("/v1/records", RecordBatch(records=()), "other-adapter")
    assert (status, body["error"]["code"], headers["Retry-After"]) == (503, "token_review_unavailable", "2")
    ledger.clock.advance(61)
    assert (await ledger.records(ended()))[0] == 503
    ledger.reviewer.away = False
    assert (await ledger.records(ended()))[0] == 200


async def test_a_token_is_reviewed_once_a_minute(ledger: Ledger) -> None:
    for _ in range(5):
        await ledger.records(started())
    assert ledger.reviewer.calls == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ("{", None),
        ("[]", None),
        ('{"records": [{"kind": "attempt"}]}', "records[0].attempt_id"),
        ('{"records": [{"kind": "other"}]}', "records[0]"),
        (
            '{"records": [{"kind":"usage","attempt_id":"a","outcome":"fine","status":200,"ended_at_ms":1}]}',
            "records[0].outcome",
        ),
        (
            '{"records": [{"kind":"usage","attempt_id":"a","outcome":"ok","status":2000,"ended_at_ms":1}]}',
            "records[0].status",
        ),
        (
            '{"records": [{"kind":"usage","attempt_id":"a","outcome":"ok","status":200,"ended_at_ms":99999999999999}]}',
            "records[0].ended_at_ms",
        ),
        (
            '{"records": [{"kind":"usage","attempt_id":"a","outcome":"ok","status":200,"ended_at_ms":1,"quantities":'
            '[{"unit":"audio_ms","source":"measured","quantity":1},{"unit":"audio_ms","source":"measured","quantity":2}]}]}',
            "records[0].quantities",
        ),
        ('{"records": [{"kind":"usage","attempt_id":"\\ud800","outcome":"ok","status":200,"ended_at_ms":1}]}', None),
        (b"\xff\xfe", None),
    ],
)
async def test_bad_records_are_named(ledger: Ledger, body: Any, param: str | None) -> None:
    status, answer, _ = await ledger.post("/v1/records", body)
    assert (status, answer["error"]["type"], answer["error"]["param"]) == (400, "invalid_request_error", param)
    if param:
        assert param in answer["error"]["message"]
    await ledger.still_serves()


async def test_too_large_a_body_is_413(ledger: Ledger) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 1024 * 1024

    headers = {"Authorization": "Bearer adapter"}
    async with ledger.session.post(ledger.url + "/v1/records", data=chunks(), headers=headers) as answer:
        assert answer.status == 413
        assert (await answer.json())["error"]["code"] == "body_too_large"
    await ledger.still_serves()


async def test_a_wrong_path_or_method_has_openais_shape(ledger: Ledger) -> None:
    assert (await ledger.get("/v1/costs"))[0] == 404
    status, body = await ledger.get("/v1/records")
    assert status == 405
    assert "POST" in body["error"]["message"]


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        ("/v1/cost", {"by": "colour"}, "by"),
        ("/v1/cost", {"since": "yesterday"}, "since"),
        ("/v1/cost", {"since": "9" * 30}, "since"),
        ("/v1/cost", {"vendor": "openai"}, "model"),
        ("/v1/cost", {"namspace": "voice"}, "namspace"),
        ("/v1/attempts", {"limit": "0"}, "limit"),
        ("/v1/attempts", {"limit": "many"}, "limit"),
    ],
)
async def test_bad_queries_are_named(ledger: Ledger, path: str, query: dict[str, str], param: str) -> None:
    status, body = await ledger.get(path, **query)
    assert (status, body["error"]["param"]) == (400, param)


async def test_an_attempt_is_pending_then_unknown_then_known(ledger: Ledger) -> None:
    async def row() -> Any:
        _, body = await ledger.get("/v1/attempts", request_id="r1")
        return body["attempts"][0]

    await ledger.post("/v1/sightings", SightingBatch(sightings=(sighted(),)), "gateway")
    assert ((await row())["outcome"], (await row())["agree"]) == ("pending", None)
    ledger.clock.advance(40)
    assert ((await row())["outcome"], (await row())["agree"]) == ("unknown", False)
    await ledger.records(started(), ended())
    found = await row()
    assert (found["outcome"], found["agree"], found["measured"]) == ("ok", True, {"audio_ms": 60_000})


async def test_disagreement_shows(ledger: Ledger) -> None:
    await ledger.records(started(), ended())
    await ledger.post(
        "/v1/sightings", SightingBatch(sightings=(sighted(outcome=Outcome.SERVER, status=503),)), "gateway"
    )
    _, body = await ledger.get("/v1/attempts", request_id="r1")
    assert body["attempts"][0]["agree"] is False
    assert body["attempts"][0]["sighted_outcome"] == "server"


async def test_an_attempt_that_reached_no_adapter_is_explained(ledger: Ledger) -> None:
    seen = sighted(reached=False, outcome=Outcome.SERVER, status=0)
    await ledger.post("/v1/sightings", SightingBatch(sightings=(seen,)), "gateway")
    ledger.clock.advance(40)
    _, body = await ledger.get("/v1/attempts")
    assert (body["attempts"][0]["outcome"], body["attempts"][0]["agree"]) == ("server", True)


async def test_metrics_tell_of_what_is_missing_and_of_conflicts(ledger: Ledger) -> None:
    async def metrics() -> dict[str, str]:
        async with ledger.session.get(ledger.url + "/metrics") as answer:
            assert answer.status == 200
            lines = (await answer.text()).splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    assert (await metrics())["insource_capture_ratio"] == "1.0"
    both = SightingBatch(sightings=(sighted("r1"), sighted("r2")))
    await ledger.post("/v1/sightings", both, "gateway")
    await ledger.records(started("r1"), ended("r1"))
    await ledger.records(started("r1", model="else"))
    ledger.clock.advance(40)
    found = await metrics()
    assert found["insource_capture_ratio"] == "0.5"
    assert found["insource_attempts_unknown_total"] == "1.0"
    assert found["insource_ledger_conflicts_total"] == "1.0"
    await ledger.records(started("r2"), ended("r2"))
    found = await metrics()
    assert (found["insource_capture_ratio"], found["insource_attempts_unknown_total"]) == ("1.0", "0.0")


async def test_a_reservation_is_granted_refused_and_settled(ledger: Ledger) -> None:
    await ledger.store.record_book("default", [price()])  # 10 s = 0.001
    for number in range(10):
        status, body, _ = await ledger.post("/v1/reservations", reservation(f"r{number}"))
        assert (status, body["granted"]) == (200, True)
    assert body["remaining"] == "0"
    _, body, _ = await ledger.post("/v1/reservations", reservation("r10"))
    assert body == {"granted": False, "reason": "daily_limit", "remaining": "0"}
    _, again, _ = await ledger.post("/v1/reservations", reservation("r3"))
    assert again["granted"], "asking again for a granted attempt is granted again"
    await ledger.records(started("r0", vendor="openai"), ended("r0", measured=4_000, billed=None))
    _, body, _ = await ledger.post("/v1/reservations", reservation("r10", quantity=6_000))
    assert body == {"granted": True, "reason": "", "remaining": "0"}


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({"daily_limit": "-1"}, 400, "daily_limit"),
        ({"daily_limit": "NaN"}, 400, "daily_limit"),
        ({"quantity": -1}, 400, "quantity"),
        ({"unit": "pages"}, 400, "unit"),
    ],
)
async def test_bad_reservations(ledger: Ledger, changes: dict[str, Any], status: int, param: str) -> None:
    answered, body, _ = await ledger.post("/v1/reservations", reservation(**changes))
    assert (answered, body["error"]["param"]) == (status, param)


async def test_the_same_attempt_with_another_reservation_is_409(ledger: Ledger) -> None:
    await ledger.store.record_book("default", [price()])
    await ledger.post("/v1/reservations", reservation())
    status, body, _ = await ledger.post("/v1/reservations", reservation(quantity=1))
    assert (status, body["error"]["code"]) == (409, "reservation_conflict")


async def test_the_cost_report_over_http(ledger: Ledger) -> None:
    await ledger.store.record_book("default", [price()])
    vendor = {"backend_kind": BackendKind.VENDOR, "backend": "openai", "vendor": "openai", "role": Role.SPILL}
    await ledger.records(started("a"), ended("a"), started("b", vendor="openai"), ended("b", billed=60_000))
    await ledger.post("/v1/sightings", SightingBatch(sightings=(sighted("a"), sighted("b", **vendor))), "gateway")
    ledger.clock.advance(60)
    status, body = await ledger.get("/v1/cost", namespace="voice", since=str(START_MS - 1))
    assert status == 200
    by_backend = {row["backend"]: row for row in body["rows"]}
    assert by_backend["openai"]["vendor"] == {
        "cost": "0.006", "per_audio_hour": "0.360000", "per_unit": {"audio_ms": "0.360000"},
    }  # fmt: skip
    assert by_backend["inhouse"]["audio_seconds"] == "60.000"
    assert body["comparisons"][0]["reference"]["counterfactual"] == "0.006"


async def test_health_needs_no_token(ledger: Ledger) -> None:
    for path in ("/healthz", "/readyz"):
        async with ledger.session.get(ledger.url + path) as answer:
            assert answer.status == 200
