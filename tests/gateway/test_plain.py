"""Plain `/v1`: unmodified clients, who is meant by a name, what is refused, and that nothing is counted twice."""

from __future__ import annotations

import asyncio
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web
from yarl import URL

from insource.gateway.plain import PlainLimits
from insource.gateway.view import ClientKey, DeploymentKey
from insource.wire.records import attempt_id
from tests.gateway.gateway_harness import (
    ALICE,
    AUTH,
    BOB,
    KEY,
    Adapter,
    Gateway,
    Seen,
    break_off,
    gateway,
    ok,
    status,
    until,
)

pytestmark = pytest.mark.gateway

MIB = 1 << 20
JSON = {**AUTH, "content-type": "application/json"}
FORM = {**AUTH, "content-type": "multipart/form-data; boundary=b"}
CHAT = "/v1/chat/completions"
AUDIO = "/v1/audio/transcriptions"


def sdk(gw: Gateway, key: str = ALICE.key) -> openai.AsyncOpenAI:
    """A client as everybody has it: an address and a key."""
    return openai.AsyncOpenAI(base_url=f"{gw.url}/v1", api_key=key, max_retries=0)


async def serve_names(gw: Gateway, *names: str, version: int = 2, **changes: Any) -> None:
    await gw.put(gw.view(version, served_names=names or ("whisper-1",), created="2026-11-29T10:00:00Z", **changes))


def asked_for(model: str) -> bytes:
    return json.dumps({"messages": [], "model": model}).encode()


def form(*fields: tuple[str, bytes]) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    return b"".join(head % (name.encode(), value) for name, value in fields) + b"--b--\r\n"


def error(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body)["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return found


def id_of(seen: Seen) -> str:
    sent = seen.headers
    return attempt_id(sent["x-request-id"], sent.get("x-insource-hop", ""), int(sent["x-envoy-attempt-count"]))


def attempts(*adapters: Adapter) -> list[str]:
    """Identities of all attempts that reached an adapter, as it would record them."""
    return sorted(id_of(seen) for adapter in adapters for role in adapter.seen.values() for seen in role)


def idle(gw: Gateway) -> bool:
    """Nothing is under way by name, and nothing is kept of what was."""
    assert gw.agent
    return not gw.agent._plain.under_way and not gw.agent._plain._budget.used


async def test_the_sdk_needs_an_address_and_a_key(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw, sdk(gw) as client:
        await serve_names(gw, "whisper-1", "openai/whisper-1")
        for model in ("whisper-1", "openai/whisper-1", "voice/dictation"):
            text = await client.audio.transcriptions.create(file=("a.wav", bytes(3 * MIB)), model=model)
            assert text.text == "hello"
            await client.chat.completions.create(messages=[{"role": "user", "content": "x"}], model=model)
        for seen in gw.adapter.seen["serve"]:
            assert seen.headers["x-insource-client"] == "alice"
            assert seen.headers["x-insource-deployment"] == "dictation"
            assert seen.headers["x-insource-hop"] == "name-1"
            assert "authorization" not in seen.headers
        assert {seen.path for seen in gw.adapter.seen["serve"]} == {AUDIO, CHAT}
        assert idle(gw)


async def test_the_models_that_a_key_may_call(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw, sdk(gw) as client, sdk(gw, BOB.key) as bobs:
        await serve_names(gw, "whisper-1", "openai/whisper-1")
        listed = [(each.id, each.owned_by, each.created) async for each in await client.models.list()]
        assert listed == [(name, "voice", 1795946400) for name in ("openai/whisper-1", "voice/dictation", "whisper-1")]
        for name in ("voice/dictation", "openai/whisper-1", "whisper-1"):
            assert (await client.models.retrieve(name)).id == name
            async with gw.session.get(f"{gw.url}/v1/models/{name}", headers=AUTH) as answer:
                assert (await answer.json())["id"] == name
        # Somebody else's key: nothing is there, and nothing is said of what it may not see.
        assert [each async for each in await bobs.models.list()] == []
        for name in ("voice/dictation", "nobody/nothing"):
            with pytest.raises(openai.NotFoundError) as caught:
                await bobs.models.retrieve(name)
            assert caught.value.code == "model_not_found"
            assert caught.value.message.count("dictation") == name.count("dictation")
        assert not gw.adapter.seen


async def test_each_refusal_and_that_serving_goes_on(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await serve_names(gw, max_body_bytes=1000)
        key = DeploymentKey("voice", "large")
        await gw.put(gw.view(1, key=key, max_body_bytes=2000))
        bob = {"authorization": f"Bearer {BOB.key}", "content-type": "application/json"}
        model = ("model", b"whisper-1")
        cases: list[tuple[str, str, bytes, dict[str, str], int, str]] = [
            ("POST", CHAT, asked_for("whisper-1"), {"content-type": "application/json"}, 401, "invalid_api_key"),
            ("POST", CHAT, asked_for("whisper-1"), {**JSON, "authorization": "Bearer x"}, 401, "invalid_api_key"),
            ("POST", CHAT, b"{}", JSON, 400, "missing_required_parameter"),
            ("POST", CHAT, b"", JSON, 400, "invalid_json"),
            ("POST", CHAT, b"not json", JSON, 400, "invalid_json"),
            ("POST", CHAT, b'{"model":"whisper-1"', JSON, 400, "invalid_json"),
            ("POST", CHAT, b'{"model":1}', JSON, 400, "invalid_type"),
            ("POST", CHAT, b'{"model":"a","model":"b"}', JSON, 400, "duplicate_parameter"),
            ("POST", CHAT, asked_for("whisper-2"), JSON, 404, "model_not_found"),
            ("POST", CHAT, asked_for("whisper-1"), bob, 404, "model_not_found"),
            ("POST", CHAT, asked_for("voice/dictation"), bob, 404, "model_not_found"),
            ("POST", CHAT, asked_for("voice/nothing"), JSON, 404, "model_not_found"),
            ("POST", CHAT, asked_for("whisper-1"), AUTH, 415, "unsupported_content_type"),
            ("POST", CHAT, b"x", {**JSON, "content-encoding": "gzip"}, 415, "unsupported_content_encoding"),
            ("POST", AUDIO, form(("file", b"x")), FORM, 400, "missing_required_parameter"),
            ("POST", AUDIO, form(model, ("file", b"x"), model), FORM, 400, "duplicate_parameter"),
            ("POST", AUDIO, form(model)[:-8], FORM, 400, "invalid_multipart"),
            ("POST", AUDIO, form(model), {**AUTH, "content-type": "multipart/form-data"}, 400, "invalid_content_type"),
            ("POST", AUDIO, form(model, ("file", bytes(1000))), FORM, 413, "request_too_large"),
            ("POST", AUDIO, form(model, ("file", bytes(9000))), FORM, 413, "request_too_large"),
            ("GET", AUDIO, b"", AUTH, 405, "method_not_allowed"),
            ("DELETE", "/v1/models/whisper-1", b"", AUTH, 405, "method_not_allowed"),
        ]
        for method, path, body, headers, code, word in cases:
            for data in (body, _chunks(body)):  # with its length, and without
                async with gw.session.request(method, gw.url + path, data=data, headers=headers) as answer:
                    found = error(await answer.read())
                    assert (answer.status, found["code"]) == (code, word), (path, body, found)
                    assert found["type"] == "invalid_request_error"
                    assert answer.content_type == "application/json"
        assert not gw.adapter.seen
        assert (await gw.post(CHAT, asked_for("whisper-1"), JSON))[0] == 200
        assert (await gw.post(AUDIO, form(model, ("file", bytes(500))), FORM))[0] == 200
        assert (await gw.post(AUDIO, form(("file", bytes(1500)), ("model", b"voice/large")), FORM))[0] == 200
        assert idle(gw)
        assert f"by_name_refused_total {2 * (len(cases) - 2)}.0" in (await gw.admin("/metrics"))[1]


async def _chunks(body: bytes) -> Any:
    yield body[:10]
    yield body[10:]


async def test_own_namespace_first_then_the_oldest(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        carol = ClientKey("carol", "sk-carol", ("mail",))
        dave = ClientKey("dave", "sk-dave", ("team",))
        gw.source.set_keys([replace(ALICE, namespaces=("voice",)), carol, dave])
        everyone = ("alice", "carol", "dave")
        for number, (full_name, minute) in enumerate([("voice/a", 5), ("mail/a", 3), ("mail/b", 4), ("web/a", 1)]):
            created = f"2026-11-29T10:0{minute}:00Z"
            key = DeploymentKey.parse(full_name)
            clients = () if full_name == "web/a" else everyone
            view = gw.view(number + 1, key=key, clients=clients, served_names=("tiny",), created=created)
            await gw.put(view)

        async def meant(key: str, model: str) -> str:
            headers = {**JSON, "authorization": f"Bearer {key}"}
            code, _, _ = await gw.post(CHAT, asked_for(model), headers)
            sent = gw.adapter.seen["serve"][-1].headers
            return f"{sent['x-insource-namespace']}/{sent['x-insource-deployment']}" if code == 200 else str(code)

        async def all_keys_known() -> bool:
            return all([await meant(key, "voice/a") == "voice/a" for key in (ALICE.key, carol.key, dave.key)])

        await until(all_keys_known)
        assert await meant(ALICE.key, "tiny") == "voice/a"
        assert await meant(carol.key, "tiny") == "mail/a"
        assert await meant(dave.key, "tiny") == "mail/a"
        assert await meant(dave.key, "mail/b") == "mail/b"
        assert await meant(dave.key, "web/a") == "404"
        # The oldest goes: the next one answers.
        gw.source.remove(DeploymentKey("mail", "a"))
        await until(lambda: _is(meant, carol.key, "mail/b"))
        assert await meant(dave.key, "tiny") == "mail/b"
        # Permission is taken back.
        await gw.put(gw.view(9, key=DeploymentKey("mail", "b"), clients=("carol",), served_names=("tiny",)))
        assert await meant(dave.key, "tiny") == "voice/a"
        # A key is.
        gw.source.set_keys([carol])
        await until(lambda: _is(meant, dave.key, "401"))


async def _is(meant: Any, key: str, wanted: str) -> bool:
    return bool(await meant(key, "tiny") == wanted)


async def test_every_attempt_is_known_once(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await serve_names(gw)
        turns = iter(range(1000))

        async def moody(request: web.Request, size: int) -> web.StreamResponse:
            turn = next(turns)
            return await (ok, status(503, "server"), status(429, "shed"), status(400, "client"))[turn % 4](
                request, size
            )

        gw.adapter.behaviour["serve"] = gw.adapter.behaviour["rescue"] = moody
        codes = []
        for number in range(60):
            if number % 3:
                codes.append((await gw.post(CHAT, asked_for("whisper-1"), JSON))[0])
            else:
                codes.append((await gw.post())[0])
        assert set(codes) == {200, 400}
        made = attempts(gw.adapter, gw.vendor)
        assert len(made) == len(set(made)) > 60
        await until(lambda: sorted(gw.ledger.sightings) == made, what="the ledger knows each attempt, once")
        by_name = [each for each in gw.ledger.sightings.values() if each["hop"]]
        assert {each["hop"] for each in by_name} == {"name-1"}
        assert len({each["request_id"] for each in by_name}) == 40
        # Judged is the first attempt of each, whichever way it came.
        assert sum(count["first"] for count in (await gw.admin("/evidence"))["counts"]) == 60
        signals = (await gw.admin("/signals"))["deployments"][str(KEY)]
        assert (signals["arrivals_total"], signals["in_flight"], signals["held"]) == (60, 0, 0)


async def test_a_cold_deployment_is_waited_for(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await serve_names(gw, serve=(), rescue=(), spill=())
        waiting = asyncio.create_task(gw.post(CHAT, asked_for("whisper-1"), JSON))
        await until(lambda: gw.agent and gw.agent._activator.held.total() == 1)
        await serve_names(gw, version=3)
        assert (await waiting)[0] == 200
        (seen,) = gw.adapter.seen["serve"]
        # How often it was tried before a backend was there is a matter of time.
        assert re.fullmatch(r"hold-1-\d+-name-1", seen.headers["x-insource-hop"])
        assert list(await _ids(gw, 1)) == [id_of(seen)]

        async def counted() -> bool:
            signals = (await gw.admin("/signals"))["deployments"][str(KEY)]
            return bool((signals["arrivals_total"], signals["held"]) == (1, 0))

        await until(counted)


async def _ids(gw: Gateway, count: int) -> list[str]:
    await gw.seen_by_ledger(count)
    return sorted(gw.ledger.sightings)


async def test_an_answer_comes_as_it_is_made(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw, sdk(gw) as client:
        await serve_names(gw)
        go = asyncio.Event()

        async def stream(request: web.Request, size: int) -> web.StreamResponse:
            response = web.StreamResponse(headers={"content-type": "text/event-stream", "x-insource-outcome": "ok"})
            await response.prepare(request)
            for word in ("one", "two"):
                chunk = {"id": "c", "choices": [{"index": 0, "delta": {"content": word}}], "model": "m"}
                await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
                await asyncio.wait_for(go.wait(), 60)
            await response.write(b"data: [DONE]\n\n")
            return response

        gw.adapter.behaviour["serve"] = stream
        words = []
        async for chunk in await client.chat.completions.create(model="whisper-1", messages=[], stream=True):
            words.append(chunk.choices[0].delta.content)
            go.set()
        assert words == ["one", "two"]


async def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await serve_names(gw)
        gw.adapter.behaviour["serve"] = break_off
        with pytest.raises(aiohttp.ClientPayloadError):
            await gw.post(CHAT, asked_for("whisper-1"), JSON)
        (found,) = await gw.seen_by_ledger(1)
        assert found["outcome"] == "server"


async def test_one_that_breaks_off_before_its_first_byte_is_not_asked_for_again(tmp_path: Path) -> None:
    """The head says that somebody took it: each further try might be billed."""

    async def head_alone(request: web.Request, size: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"x-insource-outcome": "ok"})
        response.content_length = 1000
        await response.prepare(request)
        assert request.transport is not None
        request.transport.close()
        return response

    async with gateway(tmp_path) as gw:
        await serve_names(gw)
        gw.adapter.behaviour["serve"] = head_alone
        with pytest.raises(aiohttp.ClientPayloadError):
            await gw.post(CHAT, asked_for("whisper-1"), JSON)
        assert len(gw.adapter.seen["serve"]) == 1
        (found,) = await gw.seen_by_ledger(1)
        assert found["outcome"] == "server"


async def test_who_leaves_in_the_middle_of_an_upload_was_never_there(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await serve_names(gw)
        _, writer = await asyncio.open_connection("127.0.0.1", gw.port)
        head = f"POST {AUDIO} HTTP/1.1\r\nhost: x\r\ncontent-length: {8 * MIB}\r\n"
        writer.write((head + "".join(f"{name}: {value}\r\n" for name, value in FORM.items())).encode() + b"\r\n")
        writer.write(form(("model", b"whisper-1"), ("file", bytes(4 * MIB)))[: 4 * MIB])
        await writer.drain()
        assert gw.agent
        plain = gw.agent._plain
        await until(lambda: plain._budget.used > 3 * MIB)
        writer.close()
        await until(lambda: idle(gw))
        assert (await gw.post(CHAT, asked_for("whisper-1"), JSON))[0] == 200
        (seen,) = gw.adapter.seen["serve"]
        assert await _ids(gw, 1) == [id_of(seen)]


async def test_who_leaves_while_it_is_served_is_gone(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await serve_names(gw)
        left = asyncio.Event()

        async def endless(request: web.Request, size: int) -> web.StreamResponse:
            try:
                await asyncio.Event().wait()
            finally:
                left.set()
            raise AssertionError

        gw.adapter.behaviour["serve"] = endless
        asking = asyncio.create_task(gw.post(CHAT, asked_for("whisper-1"), JSON))
        await until(lambda: gw.adapter.seen["serve"])
        assert gw.agent
        assert not gw.agent._plain._budget.used, "its body is not needed any more"
        asking.cancel()
        await asyncio.wait_for(left.wait(), 60)
        (found,) = await gw.seen_by_ledger(1)
        assert found["outcome"] == "gone"
        await until(lambda: idle(gw))


async def test_no_more_than_the_limits_at_once(tmp_path: Path) -> None:
    async with gateway(tmp_path, plain=PlainLimits(requests=3, bytes=5 * MIB)) as gw:
        await serve_names(gw)
        body = form(("model", b"whisper-1"), ("file", bytes(6 * MIB)))
        code, headers, answer = await gw.post(AUDIO, body, FORM)
        assert (code, headers["retry-after"], error(answer)["code"]) == (503, "1", "overloaded")
        gate = asyncio.Event()

        async def slow(request: web.Request, size: int) -> web.StreamResponse:
            await asyncio.wait_for(gate.wait(), 60)
            return await ok(request, size)

        gw.adapter.behaviour["serve"] = slow
        tasks = [asyncio.create_task(gw.post(CHAT, asked_for("whisper-1"), JSON)) for _ in range(8)]
        await until(lambda: sum(each.done() for each in tasks) == 5)
        gate.set()
        assert sorted([(await each)[0] for each in tasks]) == [200] * 3 + [503] * 5
        assert idle(gw)


async def test_a_namespace_called_v1_takes_nothing_from_it(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await serve_names(gw)
        key = DeploymentKey("v1", "dictation")
        await gw.put(gw.view(1, key=key))
        assert (await gw.post("/v1/dictation/v1/models"))[0] == 200
        assert gw.adapter.seen["serve"][-1].headers["x-insource-namespace"] == "v1"
        assert (await gw.post(CHAT, asked_for("v1/dictation"), JSON))[0] == 200


async def test_nobody_says_who_they_are_but_their_key(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await serve_names(gw)
        forged = {"x-insource-client": "alice", "x-insource-hop": "name-7", "x-insource-namespace": "voice"}
        bob = {**JSON, **forged, "authorization": f"Bearer {BOB.key}"}
        assert (await gw.post(CHAT, asked_for("whisper-1"), bob))[0] == 404
        assert (await gw.post(CHAT, asked_for("whisper-1"), {**JSON, **forged, "x-insource-client": "bob"}))[0] == 200
        (seen,) = gw.adapter.seen["serve"]
        assert (seen.headers["x-insource-client"], seen.headers["x-insource-hop"]) == ("alice", "name-1")


async def test_a_form_with_its_model_last(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await serve_names(gw)
        body = form(("file", bytes(5 * MIB)), ("model", b"whisper-1"))
        url = URL(gw.url + AUDIO)
        async with gw.session.post(url, data=io.BytesIO(body), headers=FORM) as answer:
            assert (await answer.json())["size"] == len(body)
