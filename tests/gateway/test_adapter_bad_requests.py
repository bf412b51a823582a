"""Requests in JSON that are wrong: each a 4xx that names what is wrong, and never a call to the backend."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insource.adapter.requests import ChatCompletion, Completion, Embedding, ImageGeneration, Request, Speech
from insource.wire.vocabulary import Modality
from tests.gateway.adapter_harness import world
from tests.gateway.test_adapter_modalities import ASKED, MODALITY

pytestmark = pytest.mark.gateway
SPEECH = "/v1/audio/speech"
PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}
KINDS: dict[str, type[Request]] = {
    SPEECH: Speech,
    "/v1/images/generations": ImageGeneration,
    "/v1/completions": Completion,
    "/v1/chat/completions": ChatCompletion,
    "/v1/embeddings": Embedding,
}


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"", 400, "invalid_json", None),
        (b"{", 400, "invalid_json", None),
        (b"null", 400, "invalid_json", None),
        (b'"text"', 400, "invalid_json", None),
        (b'{"model": "\xff"}', 400, "invalid_json", None),
        (b'\xef\xbb\xbf{"model": "m"}', 400, "invalid_json", None),
        (b'{"model": "m", "speed": NaN}', 400, "invalid_json", None),
        (b'{"model": "m", "speed": -Infinity}', 400, "invalid_json", None),
        (b'{"model":"m","input":"a","voice":"v","speed":1e999}', 400, "invalid_value", "speed"),
        (b'{"model": "m", "input": "a\\u0000b", "voice": "v"}', 400, "invalid_json", None),
        (b'{"model": "m", "input": "a\\ud800b", "voice": "v"}', 400, "invalid_json", None),
        (b'{"model": "m", "input": "a\nb", "voice": "v"}', 400, "invalid_json", None),
        (b'{"model": "m", "model": "m"}', 400, "duplicate_parameter", "model"),
        (b'{"model": "m", "voice": {"id": "a", "id": "b"}}', 400, "duplicate_parameter", "id"),
        (b"[" * 100_000, 400, "invalid_json", None),
        (b'{"a":' * 300 + b"1" + b"}" * 300, 400, "invalid_json", None),
        (b'{"model":"m","input":"a","voice":' + b'{"a":' * 100 + b"1" + b"}" * 101, 400, "invalid_json", None),
        (b'{"model": "' + b"m" * 300_000 + b'"}', 413, "content_too_large", None),
        (b'{"input": "a", "voice": "v"}', 400, "missing_required_parameter", "model"),
        (b'{"model": null, "input": "a", "voice": "v"}', 400, "missing_required_parameter", "model"),
        (b'{"model": "m", "input": "a", "voice": "v", "pitch": 2}', 400, "unknown_parameter", "pitch"),
        (b'{"model": "m", "input": ["a"], "voice": "v"}', 400, "invalid_type", "input"),
        (b'{"model": "m", "input": "", "voice": "v"}', 400, "invalid_value", "input"),
        (b'{"model": "m", "input": "a", "voice": "v", "response_format": "ogg"}', 400, "invalid_value",
         "response_format"),
        (b'{"model": "m", "input": "a", "voice": "v", "speed": "1"}', 400, "invalid_type", "speed"),
    ],
)  # fmt: skip
async def test_each_is_refused_by_name(tmp_path: Path, body: bytes, status: int, code: str, param: str | None) -> None:
    async with world(tmp_path, side="vendor", modality=Modality.SPEECH) as here:
        reply = await here.ask(SPEECH, body)
        assert (reply.status, reply.outcome) == (status, "client")
        assert (reply.error["code"], reply.error["param"]) == (code, param)
        assert reply.error["type"] == "invalid_request_error"
        end = await here.ended(reply.request)
        assert (end["outcome"], end["quantities"]) == ("client", [])
        assert here.server.calls == []


@pytest.mark.parametrize(
    ("path", "name", "good", "bad"),
    [
        (SPEECH, "input", ["x", "x" * 4096, "😀" * 4096], ["", "x" * 4097]),
        (SPEECH, "speed", [0.25, 1, 4.0], [0.24, 4.01, -1, True]),
        ("/v1/images/generations", "n", [1, 10], [0, 11, 1.5, "1"]),
        ("/v1/images/generations", "size", ["auto", "16x16"], ["0x16", "16", "16x", "99999x1", " 16x16", "16x16\n"]),
        ("/v1/images/generations", "prompt", ["x" * 32_000], ["x" * 32_001, 7]),
        ("/v1/images/generations", "stream", [False, None], [True]),
        ("/v1/completions", "max_tokens", [1, 10**7], [0, -1, 10**7 + 1, "3"]),
        ("/v1/completions", "best_of", [1, 20], [0, 21]),
        ("/v1/completions", "prompt", ["x", ["x"], [1, 2], [[1], [2]]], [[], [[]], [-1], [1, "x"], [True]]),
        ("/v1/chat/completions", "temperature", [0, 2], [-0.01, 2.01]),
        ("/v1/chat/completions", "stop", ["x", ["x"] * 4], [["x"] * 5, 3]),
        (
            "/v1/chat/completions", "messages", [[{"role": "user", "content": [{"type": "text", "text": "x"}]}]],
            [[], [{"role": "king", "content": "x"}], [{"content": "x"}], [{"role": "user", "content": [PICTURE]}]],
        ),
        ("/v1/chat/completions", "store", [False], [True]),
        ("/v1/chat/completions", "stream_options", [None], [{"include_usage": True}]),
        ("/v1/embeddings", "input", ["x", ["x"] * 2048, [1]], ["", [], ["x"] * 2049, ["x", ""], [1] * 8193]),
        ("/v1/embeddings", "dimensions", [1, 65_536], [0, 65_537, "1"]),
    ],
)  # fmt: skip
async def test_each_bound(tmp_path: Path, path: str, name: str, good: list[Any], bad: list[Any]) -> None:
    async with world(tmp_path, modality=MODALITY[path]) as here:
        for value in good:
            reply = await here.ask(path, {**ASKED[path], name: value})
            assert reply.status == 200, (value, reply.body)
        for value in bad:
            reply = await here.ask(path, {**ASKED[path], name: value})
            assert (reply.status, reply.outcome) == (400, "client"), value
            assert reply.error["param"].partition("[")[0] == name
        assert len(here.server.calls) == len(good)


async def test_other_bodies_than_json(tmp_path: Path) -> None:
    async with world(tmp_path, modality=Modality.SPEECH) as here:
        body = json.dumps(ASKED[SPEECH]).encode()
        for headers, status, code in (
            ({"content-type": "text/plain"}, 400, "invalid_content_type"),
            ({"content-type": "application/json", "content-encoding": "gzip"}, 415, "unsupported_content_encoding"),
            ({"content-type": "application/json; charset=utf-8"}, 200, ""),
        ):
            async with here.session.post(
                here.url(SPEECH), data=body, headers={**here.identity(), **headers}
            ) as response:
                assert response.status == status
                assert status == 200 or (await response.json())["error"]["code"] == code


async def test_a_body_without_end_is_cut_at_the_limit(tmp_path: Path) -> None:
    async def endless() -> Any:
        while True:
            yield b" " * 65_536

    async with world(tmp_path, modality=Modality.SPEECH) as here:
        headers = {"content-type": "application/json", **here.identity()}
        async with here.session.post(here.url(SPEECH), data=endless(), headers=headers) as response:
            assert response.status == 413


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20) | st.sampled_from(["", "auto", "1x1", "mp3", "😀", "\0", "none", "user"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
NEAR = st.sampled_from([0, 1, -1, 0.25, 4, 4.000001, 10, 11, 128, 129, 2**31, 2**63, 1e308, "x" * 4097])


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A request with some parameters of its schema, good or bad, and sometimes one that nobody knows."""
    path = draw(st.sampled_from(sorted(KINDS)))
    body = dict(ASKED[path])
    names = st.sampled_from([*KINDS[path].model_fields, *KINDS[path].impossible, "unheard_of"])
    for name in draw(st.lists(names, max_size=3, unique=True)):
        body[name] = draw(ANY | NEAR)
    return path, body


def test_no_request_makes_the_adapter_fail(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        worlds = {}
        opened = []
        for modality in {MODALITY[path] for path in KINDS}:
            folder = tmp_path / modality
            folder.mkdir()
            opened.append(world(folder, modality=modality))
            worlds[modality] = runner.run(opened[-1].__aenter__())

        @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
        @given(requests())
        def ask(sent: tuple[str, dict[str, Any]]) -> None:
            path, body = sent
            reply = runner.run(worlds[MODALITY[path]].ask(path, body))
            assert reply.status in (200, 400, 413), reply.body
            assert reply.outcome == ("ok" if reply.status == 200 else "client")
            assert reply.status == 200 or reply.error["message"]

        try:
            ask()
        finally:
            for each in opened:
                runner.run(each.__aexit__(None, None, None))
