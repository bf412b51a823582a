"""Wrong requests: status, type, `param`, outcome, and that serving went on."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.audio import encoded, truncated
from tests.gateway.adapter_harness import KEY, World, world

pytestmark = pytest.mark.gateway
MODEL = ("model", "whisper-1")


async def serving_goes_on(here: World) -> None:
    assert (await here.post()).status == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ([], "model"),
        ([("model", "")], "model"),
        ([MODEL, MODEL], "model"),
        ([MODEL, ("response_format", "xml")], "response_format"),
        ([MODEL, ("response_format", "diarized_json")], "response_format"),
        ([MODEL, ("temperature", "2")], "temperature"),
        ([MODEL, ("temperature", "warm")], "temperature"),
        ([MODEL, ("temperature", "nan")], "temperature"),
        ([MODEL, ("language", "klingon")], "language"),
        ([MODEL, ("stream", "maybe")], "stream"),
        ([MODEL, ("stream", "true"), ("response_format", "srt")], "response_format"),
        ([MODEL, ("timestamp_granularities[]", "word")], "timestamp_granularities"),
        (
            [MODEL, ("response_format", "verbose_json"), ("timestamp_granularities[]", "phone")],
            "timestamp_granularities",
        ),
        ([MODEL, ("include[]", "logprobs")], "include"),
        ([MODEL, ("chunking_strategy", "auto")], "chunking_strategy"),
        ([MODEL, ("chunking_strategy[type]", "server_vad")], "chunking_strategy"),
        ([MODEL, ("known_speaker_names[]", "anna")], "known_speaker_names"),
        ([MODEL, ("frequency_penalty", "1")], "frequency_penalty"),
        ([MODEL, ("prompt", "x" * 20_000)], "prompt"),
    ],
)
async def test_parameters(tmp_path: Path, fields: list[tuple[str, str]], param: str) -> None:
    async with world(tmp_path) as here:
        reply = await here.post(fields)
        assert (reply.status, reply.outcome) == (400, "client")
        assert (reply.error["type"], reply.error["param"]) == ("invalid_request_error", param)
        assert here.server.calls == []
        assert (await here.ended(reply.request))["outcome"] == "client"
        assert (await here.ended(reply.request))["quantities"] == []
        await serving_goes_on(here)


@pytest.mark.parametrize(
    ("audio", "status"),
    [
        (None, 400),
        (b"not audio at all", 400),
        (truncated(encoded("0880", "m4a")), 400),
        (encoded("0880", "wav")[:44], 400),
        (bytes(5 << 20), 413),
    ],
    ids=["missing", "text", "truncated", "header only", "too large"],
)
async def test_files(tmp_path: Path, audio: bytes | None, status: int) -> None:
    async with world(tmp_path) as here:
        reply = await here.post(audio=audio)
        assert (reply.status, reply.outcome) == (status, "client")
        assert (reply.error["type"], reply.error["param"]) == ("invalid_request_error", "file")
        assert list((tmp_path / "wal" / "spool").iterdir()) == []
        await serving_goes_on(here)


async def send(here: World, body: object, content_type: str = "multipart/form-data; boundary=b") -> tuple[int, dict]:  # type: ignore[type-arg]
    headers = here.identity() | {"content-type": content_type}
    async with here.session.post(here.url(), data=body, headers=headers) as response:
        assert response.headers["x-insource-outcome"] == "client"
        return response.status, (await response.json())["error"]


PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


async def test_bodies(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        empty = PART + b"\r\n--b--\r\n"
        for body in (empty, PART + b"RIFF", PART, b"", b"garbage", b"--b"):
            status, error = await send(here, body)
            assert (status, error["type"], error["param"]) == (400, "invalid_request_error", "file"), body
        for content_type in ("application/json", "multipart/form-data"):
            status, error = await send(here, b"{}", content_type)
            assert (status, error["code"]) == (400, "invalid_content_type")

        async def endless():  # type: ignore[no-untyped-def]
            yield PART
            for _ in range(200):
                yield bytes(65536)

        status, error = await send(here, endless())
        assert (status, error["param"]) == (413, "file")
        await serving_goes_on(here)


async def test_paths_and_methods(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for method, path, status in (
            ("POST", "/v1/audio/speech", 404),
            ("GET", "/", 404),
            ("GET", "/v1/audio/transcriptions", 405),
            ("DELETE", "/v1/models", 405),
        ):
            async with here.session.request(method, here.url(path), headers=here.identity()) as response:
                assert (response.status, response.headers["x-insource-outcome"]) == (status, "client")
                assert (await response.json())["error"]["type"] == "invalid_request_error"
        await serving_goes_on(here)


async def test_without_the_gateways_token(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for token in ("", "cd" * 32, "é", "x" * 5000):
            reply = await here.post(x_insource_gateway_token=token)
            assert (reply.status, reply.error["type"], reply.outcome) == (401, "invalid_request_error", "client")
        assert here.server.calls == []
        # The operator adds a token: it is taken without a restart.
        (tmp_path / "tokens" / "sha256").write_text("0" * 64 + "\n")
        assert (await here.post()).status == 401


async def test_without_identity(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for header, value in (
            ("x_request_id", ""),
            ("x_insource_deployment", ""),
            ("x_insource_namespace", ""),
            ("x_insource_namespace", "other"),
            ("x_envoy_attempt_count", ""),
            ("x_envoy_attempt_count", "0"),
            ("x_envoy_attempt_count", "one"),
            ("x_request_id", "x" * 129),
        ):
            reply = await here.post(**{header: value})
            assert (reply.status, reply.error["code"]) == (400, "missing_identity"), (header, value)
            assert header.replace("_", "-") in reply.error["message"]
        assert here.server.calls == []
        await serving_goes_on(here)


async def test_a_backends_400_reaches_the_client_without_secrets(tmp_path: Path) -> None:
    async with world(tmp_path, side="vendor") as here:

        async def answer(request: aiohttp.web.Request) -> aiohttp.web.Response:
            error = {"message": f"whisper-1 with {KEY} dislikes the file", "param": "file", "code": "bad"}
            return aiohttp.web.json_response({"error": error}, status=400)

        here.server.answer = answer
        reply = await here.post([("model", "mine")])
        assert (reply.status, reply.outcome, reply.error["param"]) == (400, "client", "file")
        assert reply.error["message"] == "mine with [key] dislikes the file"
