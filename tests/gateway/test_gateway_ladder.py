"""Routing and the ladder serve -> rescue -> spill -> hold, through a real Envoy."""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from insource.wire.vocabulary import Role
from tests.gateway.gateway_harness import (
    ALICE,
    AUTH,
    KEY,
    MASTER,
    PATH,
    break_off,
    gateway,
    ok,
    reset,
    status,
    until,
)

pytestmark = pytest.mark.gateway


def told_outside(headers: Mapping[str, str]) -> list[str]:
    """The headers that were between adapters and gateway only, and yet reached the client."""
    return [name for name in headers if name.lower().startswith(("x-insource-", "x-envoy-"))]


async def test_no_answer_tells_what_adapters_say_to_the_gateway(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        for code, outcome in ((200, "ok"), (400, "invalid"), (500, "server"), (504, "timeout")):
            for role in ("serve", "rescue"):
                gw.adapter.behaviour[role] = status(code, outcome)
            gw.vendor.behaviour["spill"] = status(code, outcome)
            got, headers, _ = await gw.post()
            assert (got, told_outside(headers)) == (code, []), outcome
        # Refused by everyone, and by the activator when the wait is over: the retry policy's header is on these.
        await gw.put(gw.view(3, request_timeout_s=2))
        for adapter in (gw.adapter, gw.vendor):
            for role in ("serve", "rescue", "spill"):
                adapter.behaviour[role] = status(429, "shed", **{"x-envoy-ratelimited": "true"})
        got, headers, _ = await gw.post()
        assert got in (429, 503)
        assert told_outside(headers) == []
        # And by Envoy itself.
        got, headers, _ = await gw.post(headers={})
        assert (got, told_outside(headers)) == (401, [])


async def test_a_request_reaches_the_adapter_with_its_identity_and_without_the_key(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        forged = {
            **AUTH,
            "x-insource-client": "evil",
            "x-insource-deployment": "evil",
            "x-insource-gateway-token": "evil",
            "x-insource-hop": "evil",
            "x-insource-other": "evil",
            "x-request-id": "evil",
            "x-envoy-attempt-count": "7",
            "x-envoy-max-retries": "9",
            "x-envoy-upstream-rq-timeout-ms": "1",
        }
        code, headers, _ = await gw.post(headers=forged)
        assert code == 200
        (seen,) = gw.adapter.seen["serve"]
        assert seen.path == "/v1/audio/transcriptions"
        assert seen.headers["x-insource-namespace"] == "voice"
        assert seen.headers["x-insource-deployment"] == "dictation"
        assert seen.headers["x-insource-client"] == "alice"
        assert seen.headers["x-insource-gateway-token"] == hmac.new(MASTER, b"voice", hashlib.sha256).hexdigest()
        assert seen.headers["x-envoy-attempt-count"] == "1"
        assert len(seen.headers["x-request-id"]) == 36
        assert "authorization" not in seen.headers
        assert "evil" not in str(seen.headers)
        assert "x-insource-hop" not in seen.headers
        assert told_outside(headers) == []


async def test_attempts_climb_and_are_logged_and_sighted(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        gw.adapter.behaviour["serve"] = status(503, "server")
        code, _, _ = await gw.post()
        assert code == 200
        gw.adapter.behaviour["serve"] = status(429, "shed", **{"retry-after": "1"})
        gw.adapter.behaviour["rescue"] = status(429, "shed")
        code, _, _ = await gw.post()
        assert code == 200
        sightings = await gw.seen_by_ledger(5)
        told = sorted((s["number"], s["role"], s["outcome"], s["status"], s["backend"], s["vendor"]) for s in sightings)
        assert told == [
            (1, "serve", "server", 503, "inhouse", ""),
            (1, "serve", "shed", 429, "inhouse", ""),
            (2, "rescue", "ok", 200, "inhouse", ""),
            (2, "rescue", "shed", 429, "inhouse", ""),
            (3, "spill", "ok", 200, "openai", "openai"),
        ]
        assert all(s["namespace"] == "voice" and s["deployment"] == "dictation" and s["reached"] for s in sightings)

        async def evidence() -> bool:
            counts = (await gw.admin("/evidence"))["counts"]
            return {(c["role"], c["outcome"]): (c["first"], c["all"]) for c in counts} == {
                ("serve", "server"): (1, 1),
                ("serve", "shed"): (1, 1),
                ("rescue", "ok"): (0, 1),
                ("rescue", "shed"): (0, 1),
                ("spill", "ok"): (0, 1),
            }

        await until(evidence)
        signals = (await gw.admin("/signals"))["deployments"][str(KEY)]
        assert signals == {"in_flight": 0, "arrivals_total": 2, "spilled_total": 1, "held": 0}


async def test_held_until_a_replica_has_room(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        for adapter in (gw.adapter, gw.vendor):
            for role in ("serve", "rescue", "spill"):
                adapter.behaviour[role] = status(429, "shed")
        body = bytes(3 << 20)
        waiting = asyncio.create_task(gw.post(body=body))

        async def held() -> bool:
            return (await gw.admin("/signals"))["deployments"].get(str(KEY), {}).get("held") == 1

        await until(held)
        gw.adapter.behaviour["serve"] = ok
        code, headers, answer = await waiting
        assert code == 200
        assert b"3145728" in answer
        assert "x-envoy-ratelimited" not in headers
        last = gw.adapter.seen["serve"][-1]
        assert last.headers["x-insource-hop"].startswith("hold-4-")
        every = [seen.headers for who in (gw.adapter, gw.vendor) for role in who.seen.values() for seen in role]
        ids = [(each.get("x-insource-hop"), each["x-envoy-attempt-count"]) for each in every]
        assert len(ids) == len(set(ids)), "two attempts of one name: the ledger would drop one"
        assert last.headers["x-insource-client"] == "alice"
        assert last.headers["x-envoy-attempt-count"] == "1"
        assert last.headers["x-request-id"] == gw.adapter.seen["serve"][0].headers["x-request-id"]
        # A probe climbs the rungs that have a backend and never comes back to the activator.
        assert {s.headers["x-envoy-attempt-count"] for s in gw.vendor.seen["spill"]} <= {"3"}


async def test_held_while_there_is_no_backend_at_all(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await gw.put(gw.view(2, serve=(), rescue=(), spill=()))
        waiting = asyncio.create_task(gw.post())

        async def held() -> bool:
            return (await gw.admin("/signals"))["deployments"].get(str(KEY), {}).get("held") == 1

        await until(held)
        await gw.put(gw.view(3))
        code, _, _ = await waiting
        assert code == 200
        assert len(gw.adapter.seen["serve"]) == 1


async def test_a_hold_that_ends_answers_503_with_retry_after(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await gw.put(gw.view(2, serve=(), rescue=(), spill=(), request_timeout_s=2))
        code, headers, body = await gw.post()
        assert code == 503
        assert headers["retry-after"] == "5"
        assert b'"no_capacity"' in body


async def test_a_failing_deployment_is_not_tried_for_ever(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        for adapter in (gw.adapter, gw.vendor):
            for role in ("serve", "rescue", "spill"):
                adapter.behaviour[role] = status(503, "server")
        code, _, body = await gw.post()
        assert code == 503
        assert b'"server"' in body
        assert len(gw.adapter.seen["serve"]) <= 4


async def test_a_client_that_leaves_ends_its_hold(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await gw.put(gw.view(2, serve=(), rescue=(), spill=()))
        waiting = asyncio.create_task(gw.post())

        async def held(count: int) -> bool:
            return (await gw.admin("/signals"))["deployments"].get(str(KEY), {}).get("held", 0) == count

        await until(lambda: held(1))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await until(lambda: held(0))


async def test_a_24_mb_upload_is_replayed(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        gw.adapter.behaviour["serve"] = reset
        gw.adapter.behaviour["rescue"] = status(503, "server")
        code, _, _ = await gw.post(body=bytes(24_000_000))
        assert code == 200
        assert [s.size for s in gw.vendor.seen["spill"]] == [24_000_000]


async def test_a_stream_passes_unbuffered(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        gate = asyncio.Event()

        async def stream(request: object, size: int) -> object:
            from aiohttp import web

            response = web.StreamResponse(headers={"x-insource-outcome": "ok", "content-type": "text/event-stream"})
            await response.prepare(request)  # type: ignore[arg-type]
            await response.write(b"data: first\n\n")
            await gate.wait()
            await response.write(b"data: last\n\n")
            return response

        gw.adapter.behaviour["serve"] = stream  # type: ignore[assignment]
        async with gw.session.post(gw.url + PATH, data=b"{}", headers=AUTH) as answer:
            assert await asyncio.wait_for(answer.content.readany(), 60) == b"data: first\n\n"
            gate.set()
            assert await answer.content.read() == b"data: last\n\n"


async def test_outcomes_of_what_the_adapter_cannot_say(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:

        async def outcome(count: int) -> tuple[str, int, bool]:
            last = (await gw.seen_by_ledger(count))[-1]
            return last["outcome"], last["status"], last["reached"]

        only = gw.view(2, rescue=(), spill=(), request_timeout_s=1)
        await gw.put(only)
        gw.adapter.behaviour["serve"] = break_off
        with pytest.raises(aiohttp.ClientPayloadError):
            await gw.post()
        assert await outcome(1) == ("server", 200, True)

        hang = asyncio.Event()

        async def silent(request: object, size: int) -> object:
            await hang.wait()
            raise AssertionError

        gw.adapter.behaviour["serve"] = silent  # type: ignore[assignment]
        code, _, body = await gw.post()
        assert code == 504
        assert b'"timeout"' in body
        assert await outcome(2) == ("timeout", 0, True)

        await gw.put(gw.view(3, rescue=(), spill=()))
        leaving = asyncio.create_task(gw.post())
        before = len(gw.adapter.seen["serve"])
        await until(lambda: len(gw.adapter.seen["serve"]) > before)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert await outcome(3) == ("gone", 0, True)

        await gw.put(gw.view(4, rescue=(), spill=(gw.vendor.pool(Role.SPILL, vendor="openai"),)))
        gw.adapter.behaviour["serve"] = ok
        assert (await gw.post())[0] == 200, "or the address would be out by now"
        gw.adapter.behaviour["serve"] = reset
        assert (await gw.post())[0] == 200
        (attempt,) = [s for s in await gw.seen_by_ledger(6) if s["number"] == 1 and s["flags"] == "UC"]
        assert (attempt["outcome"], attempt["reached"]) == ("server", True)

        await gw.adapter.stop()
        assert (await gw.post())[0] == 200
        refused = [s for s in await gw.seen_by_ledger(8) if not s["reached"]]
        assert [(s["outcome"], s["flags"]) for s in refused] == [("server", "UF")]


async def test_nothing_secret_is_on_disk_but_the_snapshot(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await gw.post()
        await gw.post(headers={"authorization": "Bearer sk-unknown-key"})
        await gw.seen_by_ledger(1)
        await until((gw.state_dir / "snapshot.json").exists)
        token = hmac.new(MASTER, b"voice", hashlib.sha256).hexdigest()
        for file in gw.state_dir.rglob("*"):
            if not file.is_file():
                continue
            content = file.read_text()
            assert token not in content, file
            assert "sk-unknown-key" not in content, file
            assert (ALICE.key in content) == (file.name == "snapshot.json"), file
        assert (gw.state_dir / "snapshot.json").stat().st_mode & 0o777 == 0o600
        assert gw.state_dir.stat().st_mode & 0o777 == 0o700
