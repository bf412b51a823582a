"""Backends that fail: each ends in its outcome of the table, and serving goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.gateway.adapter_answers import VERBOSE
from tests.gateway.adapter_harness import Hanging, form, until, world, write_routes

pytestmark = pytest.mark.gateway


def answers(status: int, body: Any = None, **headers: str) -> Any:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(body or {"error": {"message": "no"}}, status=status, headers=headers)

    return answer


async def drops(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize("side", ["inHouse", "vendor"])
@pytest.mark.parametrize(
    ("answer", "status", "outcome", "reason"),
    [
        (answers(500), 503, "server", "backend_500"),
        (answers(503), 503, "server", "backend_503"),
        (answers(404), 503, "server", "backend_404"),
        (answers(302, None, location="http://127.0.0.1:1/"), 503, "server", "backend_302"),
        (answers(504), 503, "timeout", "backend_504"),
        (answers(200, {"txet": "hello"}), 503, "server", "invalid_answer"),
        (answers(200, ["hello"]), 503, "server", "invalid_answer"),
        (drops, 503, "server", "broken_off"),
        (answers(422), 422, "client", ""),
    ],
)
async def test_each_fault(
    tmp_path: Path, side: str, answer: Any, status: int, outcome: str, reason: str
) -> None:  # fmt: skip
    async with world(tmp_path, side=side) as here:
        here.server.answer = answer
        reply = await here.post()
        assert (reply.status, reply.outcome) == (status, outcome)
        end = await here.ended(reply.request)
        assert (end["outcome"], end["status"], end["reason"]) == (outcome, status, reason)
        assert bool(end["quantities"]) == (outcome in ("server", "timeout"))
        here.server.answer = None
        assert (await here.post()).status == 200
        assert len(here.server.calls) == 2  # nothing was retried here


async def test_verbose_without_segments_is_no_answer(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        here.server.answer = answers(200, {"text": "hello"})
        reply = await here.post([("model", "w"), ("response_format", "srt")])
        assert (reply.status, reply.outcome) == (503, "server")


async def test_past_the_deadline(tmp_path: Path) -> None:
    hangs = Hanging()
    async with world(tmp_path, patience={"deadline_floor_s": 0.2, "deadline_per_audio_s": 0.1}) as here:
        here.server.answer = hangs
        reply = await here.post()
        assert (reply.status, reply.outcome) == (503, "timeout")
        async with asyncio.timeout(60):
            await hangs.cancelled.wait()
        end = await here.ended(reply.request)
        assert (end["outcome"], end["reason"]) == ("timeout", "deadline")
        assert end["busy_ms"] >= 250


async def test_a_client_that_leaves(tmp_path: Path) -> None:
    hangs = Hanging()
    async with world(tmp_path) as here:
        here.server.answer = hangs
        asking = asyncio.create_task(here.post())
        await hangs.entered.wait()
        asking.cancel()
        async with asyncio.timeout(60):
            await hangs.cancelled.wait()
        end = await here.ended("req-1")
        assert (end["outcome"], end["status"]) == ("gone", 0)
        assert end["quantities"] == [{"unit": "audio_ms", "source": "measured", "quantity": 1000}]
        here.server.answer = None
        assert (await here.post()).status == 200
        assert list((tmp_path / "wal" / "spool").iterdir()) == []


async def test_a_client_that_leaves_while_uploading(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        _, writer = await asyncio.open_connection("127.0.0.1", here.adapter.ports["serve"])
        head = "".join(f"{name}: {value}\r\n" for name, value in here.identity().items())
        writer.write(
            f"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\n{head}content-length: 100000\r\n"
            "content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\n".encode()
        )
        await until(lambda: here.adapter.entrance.in_flight == 1)
        writer.close()
        await writer.wait_closed()
        assert (await here.ended("req-1"))["outcome"] == "gone"
        assert (await here.ended("req-1"))["quantities"] == []


async def test_shedding_above_slots_and_queue(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.json_response(VERBOSE)

    async with world(tmp_path, backend={"slots": 2}) as here:
        here.server.answer = waits
        inside = [asyncio.create_task(here.post()) for _ in range(3)]
        await until(lambda: here.adapter.backend.admission.inside == 3 and len(here.server.calls) == 2)
        reply = await here.post(audio=bytes(2 << 20))  # answered on headers, though it is no audio
        assert (reply.status, reply.outcome, reply.headers["retry-after"]) == (429, "shed", "1")
        assert reply.error["type"] == "rate_limit_error"
        assert len(here.server.calls) == 2
        release.set()
        assert {(await one).status for one in inside} == {200}
        assert (await here.ended(reply.request))["reason"] == "full"


async def test_a_shed_answer_keeps_reading(tmp_path: Path) -> None:
    async with world(tmp_path, side="vendor", backend={"requests_per_minute": 1}) as here:
        assert (await here.post()).status == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", here.adapter.ports["serve"])
        head = "".join(f"{name}: {value}\r\n" for name, value in here.identity().items())
        writer.write(
            f"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\n{head}content-length: 3000000\r\n"
            "content-type: multipart/form-data; boundary=b\r\n\r\n".encode()
        )
        assert b" 429 " in await reader.readline()
        for _ in range(30):  # the rest of the upload goes out after the answer, without a reset
            writer.write(bytes(100_000))
            await writer.drain()
            await asyncio.sleep(0.01)
        assert b"rate_limit" in await reader.readuntil(b"}}")
        writer.close()
        await writer.wait_closed()


async def test_vendor_429_is_honoured(tmp_path: Path) -> None:
    async with world(tmp_path, side="vendor") as here:
        here.server.answer = answers(429, {"error": {"code": "rate_limit_exceeded"}}, **{"Retry-After": "7"})
        reply = await here.post()
        assert (reply.status, reply.outcome, reply.headers["retry-after"]) == (429, "shed", "7")
        again = await here.post()
        assert (again.status, len(here.server.calls)) == (429, 1)  # the vendor is not asked again so soon
        assert 1 <= int(again.headers["retry-after"]) <= 7
        assert (await here.ended(reply.request))["quantities"] == []


async def test_deployments_that_the_vendor_does_not_take(tmp_path: Path) -> None:
    async with world(tmp_path, side="vendor") as here:
        reply = await here.post(x_insource_deployment="other")
        assert (reply.status, reply.outcome, reply.error["code"]) == (429, "refused_policy", "no_route")
        write_routes(tmp_path, allowed=False)
        reply = await here.post()
        assert (reply.status, reply.outcome) == (429, "refused_policy")
        assert (await here.ended(reply.request))["reason"] == "deployment_not_allowed"
        write_routes(tmp_path, model="whisper-2")
        assert (await here.post()).status == 200
        assert [call["model"] for call in here.server.calls] == ["whisper-2"]


async def test_the_spill_cap(tmp_path: Path) -> None:
    write_routes(tmp_path, spill_daily_limit="0.50")
    async with world(tmp_path, side="vendor") as here:
        assert (await here.post(role="spill")).status == 200
        asked = here.ledger.reservations[0]
        assert (asked["attempt_id"], asked["quantity"], asked["daily_limit"]) == ("req-1.0.1", 1000, "0.50")
        assert (asked["unit"], asked["backend"], asked["model"]) == ("audio_ms", "openai", "whisper-1")
        here.ledger.grant = {"granted": False, "reason": "daily_limit", "remaining": "0"}
        reply = await here.post(role="spill")
        assert (reply.status, reply.outcome, reply.error["code"]) == (429, "refused_policy", "daily_limit")
        here.ledger.away = True
        reply = await here.post(role="spill")
        assert (reply.status, reply.outcome, reply.error["code"]) == (429, "refused_policy", "ledger_unreachable")
        assert len(here.server.calls) == 1
        assert (await here.post(role="serve")).status == 200  # only spill is capped
        here.ledger.away = False
        assert (await here.ended(reply.request))["reason"] == "ledger_unreachable"


async def test_the_ledger_comes_back_and_its_token_changes(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        here.ledger.away = True
        for _ in range(5):
            assert (await here.post()).status == 200
        assert here.adapter.state().unshipped == 10
        (tmp_path / "ledger-token").write_text("token-2\n")
        here.ledger.away = False
        await until(lambda: here.adapter.state().unshipped == 0)
        assert (await here.post()).status == 200  # a batch that was under way may have carried the old token
        await until(lambda: len(here.ledger.ends()) == 6)
        assert {end["outcome"] for end in here.ledger.ends().values()} == {"ok"}
        assert here.ledger.tokens[-1] == "Bearer token-2"


async def test_one_bad_record_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        take = here.ledger.take

        async def picky(request: web.Request) -> web.Response:
            if "bad-one" in await request.text():
                return web.json_response({"error": {}}, status=422)
            return await take(request)

        here.ledger.away = True
        here.ledger.take = picky  # type: ignore[method-assign]
        assert (await here.post(x_request_id="bad-one")).status == 200
        assert (await here.post()).status == 200
        here.ledger.away = False
        assert (await here.ended("req-2"))["outcome"] == "ok"
        await until(lambda: here.adapter.state().unshipped == 0)
        rejected = (tmp_path / "wal" / "log" / "rejected.txt").read_text().splitlines()
        assert len(rejected) == 2
        assert all("bad-one" in line for line in rejected)


async def test_metrics_and_state(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.post()
        await here.post([])
        async with here.session.get(here.url("/metrics", "admin")) as response:
            text = await response.text()
        labels = (
            'backend="inhouse",backend_kind="inHouse",deployment="dictation",modality="Transcription",namespace="voice"'
        )
        assert f'insource_requests_total{{{labels},outcome="ok",role="serve"}} 1.0' in text
        assert f'insource_requests_total{{{labels},outcome="client",role="serve"}} 1.0' in text
        assert f'insource_units_total{{{labels},role="serve",source="measured",unit="audio_ms"}} 1000.0' in text
        assert "insource_ledger_unshipped_records" in text
        async with here.session.get(here.url("/state", "admin")) as response:
            assert (await response.json())["ready"] is True
        async with here.session.get(here.url("/readyz", "admin")) as response:
            assert response.status == 200


async def test_draining_finishes_what_is_inside_and_ships(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.json_response(VERBOSE)

    async with world(tmp_path) as here:
        here.server.answer = waits
        inside = asyncio.create_task(here.post())
        await until(lambda: len(here.server.calls) == 1)
        draining = asyncio.create_task(here.adapter.drain())
        await asyncio.sleep(0)
        async with here.session.get(here.url("/readyz", "admin")) as response:
            assert response.status == 503
        here.server.answer = None
        late = await here.post()  # the gateway has not heard yet: still served, but not on a kept connection
        assert (late.status, late.headers["connection"]) == (200, "close")
        assert not draining.done()
        release.set()
        assert (await inside).status == 200
        await draining
        assert here.adapter.state().unshipped == 0


async def test_drain_gives_up_after_its_grace(tmp_path: Path) -> None:
    async with world(tmp_path, drain_grace_s=0.3) as here:
        here.ledger.away = True
        assert (await here.post()).status == 200
        await here.adapter.drain()
        assert here.adapter.state().unshipped == 2


async def test_a_silent_server_is_noticed_and_heals(tmp_path: Path) -> None:
    frozen = False
    entered = asyncio.Event()

    async def healthy() -> bool:
        if frozen:
            await asyncio.Event().wait()
        return True

    async def hangs(request: web.Request) -> web.StreamResponse:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with world(tmp_path, patience={"probe_timeout_s": 0.2, "stalled_after_s": 0.5}) as here:
        here.server.healthy, here.server.answer = healthy, hangs
        asking = asyncio.create_task(here.post())
        await entered.wait()
        frozen = True
        reply = await asking  # cut long before its deadline of 32 s
        assert (reply.status, reply.outcome) == (503, "timeout")
        assert not here.adapter.state().ready
        at_once = await here.post()
        assert (at_once.status, at_once.outcome) == (503, "timeout")
        assert len(here.server.calls) == 1
        frozen, here.server.answer = False, None
        await until(lambda: here.adapter.state().ready)
        assert (await here.post()).status == 200


async def test_not_ready_until_a_warm_up_works_and_again_after_a_restart(tmp_path: Path) -> None:
    healthy = True

    async def health() -> bool:
        return healthy

    async with world(tmp_path) as here:
        here.server.healthy, here.server.warm, healthy = health, False, False
        await until(lambda: not here.adapter.state().ready)
        healthy = True
        probes = here.server.probes
        await until(lambda: here.server.probes >= probes + 2)
        assert not here.adapter.state().ready
        here.server.warm = True
        await until(lambda: here.adapter.state().ready)
        assert (await here.post()).status == 200
        await here.ended("req-1")
        assert list(here.ledger.starts()) == ["req-1.0.1"]  # warm-ups are nobody's attempts


async def test_a_second_upload_form_is_not_confused(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        bodies = [form([("model", "w"), ("prompt", f"p{n}")], b"") for n in range(3)]

        async def send(body: aiohttp.FormData) -> int:
            async with here.session.post(here.url(), data=body, headers=here.identity()) as response:
                return response.status

        assert await asyncio.gather(*(send(body) for body in bodies)) == [200] * 3
        assert sorted(call["prompt"] for call in here.server.calls) == ["p0", "p1", "p2"]
