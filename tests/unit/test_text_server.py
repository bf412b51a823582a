"""The text server over a model that says what it is told: parameters, shapes, streams, slots, clients that leave."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from insource.servers.generation import ContextLengthError, Emit, Finish, Piece, PromptRefusedError, Task
from insource.servers.settings import LlamaSettings, ServerSettings, SettingsError, llama_settings
from insource.servers.text import TextServer
from insource.servers.text_requests import MAX_BODY_BYTES, MOST_SEED
from tests.model_servers import Client, asked

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"


class Echo:
    """Says its prompt word by word. `slow` waits for `go`; `long` says all the time that it goes on."""

    context_tokens = 100

    def __init__(self) -> None:
        self.go = threading.Event()
        self.tasks: list[Task] = []
        self.running = self.most = self.left = 0
        self._lock = threading.Lock()

    def generate(self, task: Task, emit: Emit) -> None:
        with self._lock:
            self.tasks.append(task)
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            self._say(task, emit)
        finally:
            with self._lock:
                self.running -= 1

    def _say(self, task: Task, emit: Emit) -> None:
        text = task.prompt or " ".join(message.text for message in task.messages)
        words = text.split(" ")
        if words[0] == "overflow":
            raise ContextLengthError("too long")
        if words[0] == "refused":
            raise PromptRefusedError("not this")
        if words[0] == "broken":
            raise OSError("secret path")
        if words[0] == "slow":
            assert self.go.wait(60)
        for word in words:
            if emit(Piece(task.index, word)):
                self.left += 1
                return
            if word == "breaks":
                raise OSError("secret path")
            while word == "long":
                if emit(None):
                    self.left += 1
                    return
                self.go.wait(0.01)
        emit(Finish(task.index, "length", len(words), len(words)))


@pytest.fixture
def model() -> Echo:
    return Echo()


@pytest.fixture
def server(model: Echo) -> TextServer:
    return TextServer(ServerSettings(model_name="m", slots=2), lambda: model)


@pytest.fixture
async def client(server: TextServer) -> AsyncIterator[Client]:
    async with asked(server) as client:
        yield client


async def collect(answer: aiohttp.ClientResponse, into: bytearray) -> None:
    async for chunk in answer.content.iter_any():
        into += chunk


async def ask(client: Client, url: str, **body: Any) -> tuple[int, Any]:
    async with client.post(url, json={"model": "m", **body}) as answer:
        return answer.status, await answer.json()


async def events(client: Client, url: str, **body: Any) -> list[Any]:
    async with client.post(url, json={"model": "m", "stream": True, **body}) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        lines = (await answer.text()).split("\n\n")
    assert lines.pop() == ""
    return [line if line == "data: [DONE]" else orjson.loads(line.removeprefix("data: ")) for line in lines]


def hello(url: str, text: str = "hello") -> dict[str, Any]:
    return {"prompt": text} if url == COMPLETIONS else {"messages": [{"role": "user", "content": text}]}


async def test_a_completion_has_openais_shape(client: Client) -> None:
    status, body = await ask(client, COMPLETIONS, prompt="a b")
    assert status == 200
    assert body.pop("id").startswith("cmpl-")
    assert body.pop("created") > 1_700_000_000
    assert body == {
        "object": "text_completion",
        "model": "m",
        "choices": [{"text": "ab", "index": 0, "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4},
    }


async def test_a_chat_has_openais_shape(client: Client, model: Echo) -> None:
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
    status, body = await ask(client, CHAT, messages=[{"role": "developer", "content": parts, "name": None}])
    assert status == 200
    assert body["object"] == "chat.completion"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "ab", "refusal": None},
            "logprobs": None,
            "finish_reason": "length",
        }
    ]
    assert [(message.role, message.text) for message in model.tasks[0].messages] == [("system", "a b")]
    assert model.tasks[0].sampling.max_tokens is None


async def test_prompts_times_n_are_choices_in_order_and_prompts_are_counted_once(client: Client, model: Echo) -> None:
    status, body = await ask(client, COMPLETIONS, prompt=["a", "b c"], n=2, seed=7)
    assert status == 200
    assert [(choice["index"], choice["text"]) for choice in body["choices"]] == [
        (0, "a"),
        (1, "a"),
        (2, "bc"),
        (3, "bc"),
    ]
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9}
    assert sorted((task.index, task.sampling.seed) for task in model.tasks) == [(0, 7), (1, 8), (2, 7), (3, 8)]


async def test_streams_pieces_then_the_reason_then_usage(client: Client) -> None:
    got = await events(client, COMPLETIONS, prompt="a b", stream_options={"include_usage": True})
    assert got.pop() == "data: [DONE]"
    usage = got.pop()
    assert (usage["choices"], usage["usage"]) == ([], {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4})
    assert [(e["choices"][0]["text"], e["choices"][0]["finish_reason"], e["usage"]) for e in got] == [
        ("a", None, None),
        ("b", None, None),
        ("", "length", None),
    ]
    assert len({e["id"] for e in got}) == 1


async def test_a_streamed_chat_begins_with_the_role(client: Client) -> None:
    got = await events(client, CHAT, **hello(CHAT, "a b"))
    assert got.pop() == "data: [DONE]"
    assert [e["choices"][0]["delta"] for e in got] == [
        {"role": "assistant", "content": ""},
        {"content": "a"},
        {"content": "b"},
        {},
    ]
    assert {e["object"] for e in got} == {"chat.completion.chunk"}
    assert all("usage" not in e for e in got)


@pytest.mark.parametrize("url", [COMPLETIONS, CHAT])
@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("max_tokens", [1, 100], [0, 101, -1, 1.0, "1", True, 2**70]),
        ("temperature", [0, 0.0, 2, 1.5], [-0.01, 2.01, "1", True, [], 1e400]),
        ("top_p", [0, 1, 0.5], [-0.01, 1.01, "1", False]),
        ("n", [1, 128], [0, 129, 1.5, "2", True]),
        ("seed", [0, MOST_SEED, -MOST_SEED - 1], [2**63, 1.5, "1", True]),
        ("stop", ["x", [], ["a", "b", "c", "d"]], ["", ["a", "b", "c", "d", "e"], [""], [1], 1, {}]),
        ("stream", [False], ["true", 1, 0, []]),
        ("user", ["somebody", ""], [1, 0, False, [], ["a"]]),
        ("logprobs", [False], [True, 1, 0, 5]),
        ("presence_penalty", [0, 0.0], [0.1, -2, "0", False]),
        ("frequency_penalty", [0], [2]),
        ("logit_bias", [{}], [{"50256": -100}, []]),
        ("store", [False], [True]),
        ("top_k", [], [1]),
        ("model", [], ["other", 1, ""]),
        ("stream_options", [], [{"include_usage": True}]),
    ],
)
async def test_each_parameter_at_and_beside_its_bounds(
    client: Client, url: str, name: str, good: list[Any], bad: list[Any]
) -> None:
    for value in [*good, None] if name != "model" else good:
        status, body = await ask(client, url, **{**hello(url), name: value})
        assert status == 200, (name, value, body)
    for value in bad:
        content = (
            orjson.dumps({"model": "m", **hello(url)})[:-1] + b"," + orjson.dumps(name) + b":" + written(value) + b"}"
        )
        async with client.post(url, data=content, headers={"content-type": "application/json"}) as answer:
            body = await answer.json()
        assert answer.status == (404 if name == "model" and value != 1 else 400), (name, value, body)
        if value not in (2**70, 1e400):  # no JSON number that is read
            assert body["error"]["param"] == name
        assert body["error"]["type"] == "invalid_request_error"


def written(value: Any) -> bytes:
    return str(value).encode() if value == 2**70 else b"1e400" if value == 1e400 else orjson.dumps(value)


@pytest.mark.parametrize(
    ("url", "body", "param"),
    [
        (COMPLETIONS, {}, "prompt"),
        (COMPLETIONS, {"prompt": []}, "prompt"),
        (COMPLETIONS, {"prompt": [1, 2]}, "prompt"),
        (COMPLETIONS, {"prompt": [[1]]}, "prompt"),
        (COMPLETIONS, {"prompt": {}}, "prompt"),
        (COMPLETIONS, {"prompt": ["a"] * 129}, "prompt"),
        (COMPLETIONS, {"prompt": ["a"] * 65, "n": 2}, "n"),
        (COMPLETIONS, {"prompt": "a", "echo": True}, "echo"),
        (COMPLETIONS, {"prompt": "a", "suffix": "b"}, "suffix"),
        (COMPLETIONS, {"prompt": "a", "best_of": 2}, "best_of"),
        (COMPLETIONS, {"prompt": "a", "messages": []}, "messages"),
        (COMPLETIONS, {"prompt": "a", "stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        (COMPLETIONS, {"prompt": "a", "stream": True, "stream_options": 1}, "stream_options"),
        (COMPLETIONS, {"prompt": "overflow"}, "prompt"),
        (COMPLETIONS, {"prompt": "refused", "stream": True}, "prompt"),
        (CHAT, {}, "messages"),
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": "hi"}, "messages"),
        (CHAT, {"messages": ["hi"]}, "messages[0]"),
        (CHAT, {"messages": [{"role": "user"}]}, "messages[0].content"),
        (CHAT, {"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
        (CHAT, {"messages": [{"role": [], "content": "a"}]}, "messages[0].role"),
        (CHAT, {"messages": [{"role": "user", "content": "a", "tool_calls": []}]}, "messages[0].tool_calls"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        (CHAT, {**hello(CHAT), "tools": [{"type": "function"}]}, "tools"),
        (CHAT, {**hello(CHAT), "response_format": {"type": "json_object"}}, "response_format"),
        (CHAT, {**hello(CHAT), "max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
        (CHAT, {**hello(CHAT), "max_completion_tokens": 101}, "max_completion_tokens"),
        (CHAT, hello(CHAT, "overflow"), "messages"),
    ],
)
async def test_what_is_wrong_is_named(client: Client, url: str, body: dict[str, Any], param: str) -> None:
    status, answer = await ask(client, url, **body)
    assert (status, answer["error"]["param"]) == (400, param), answer
    if "overflow" in str(body):
        assert answer["error"]["code"] == "context_length_exceeded"


async def test_bodies_that_are_no_json_object(client: Client) -> None:
    for body in (
        b"",
        b"[]",
        b"{",
        b'"a"',
        b'{"model":"m","prompt":"\\ud800"}',
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 9999,
    ):
        for url in (COMPLETIONS, CHAT):
            async with client.post(url, data=body, headers={"content-type": "application/json"}) as answer:
                assert answer.status == 400, body[:20]
                assert (await answer.json())["error"]["type"] == "invalid_request_error"
    async with client.post(COMPLETIONS, data=b"model=m") as answer:
        assert answer.status == 400
    large = b'{"model":"m","prompt":"' + b"a" * MAX_BODY_BYTES + b'"}'
    async with client.post(COMPLETIONS, data=io.BytesIO(large), headers={"content-type": "application/json"}) as answer:
        assert answer.status == 413
    async with client.get(COMPLETIONS) as answer:
        assert answer.status == 405


async def test_a_failure_is_a_500_without_its_words_and_in_a_stream_an_event_without_done(client: Client) -> None:
    status, body = await ask(client, COMPLETIONS, prompt="broken")
    assert status == 500
    assert "secret" not in str(body)
    async with client.post(COMPLETIONS, json={"model": "m", "prompt": "it breaks", "stream": True}) as answer:
        received = bytearray()
        # The connection is cut, for an end would look like that of a whole answer.
        with pytest.raises(aiohttp.ClientPayloadError):
            await collect(answer, received)
    assert b'"server_error"' in received
    assert b"[DONE]" not in received
    assert b"secret" not in received


async def test_the_first_piece_comes_before_the_last_is_made(client: Client, model: Echo) -> None:
    async with client.post(COMPLETIONS, json={"model": "m", "prompt": "now long", "stream": True}) as answer:
        assert b"now" in await answer.content.readuntil(b"\n\n")
        assert model.running == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_its_generations(
    client: Client, server: TextServer, model: Echo, stream: bool
) -> None:
    body = {"model": "m", "prompt": ["long", "long", "queued"], "stream": stream}
    request = asyncio.ensure_future(client.post(COMPLETIONS, json=body))
    await until(lambda: model.running == 2)
    if stream:
        (await request).close()
    else:
        request.cancel()
    await until(lambda: model.running == 0 and server.counts.report()["cancelled"] == 1)
    assert model.left == 2
    assert [task.prompt for task in model.tasks].count("queued") == 0
    assert (await ask(client, COMPLETIONS, prompt="next"))[0] == 200


async def test_slots_bound_what_runs_at_once(client: Client, model: Echo) -> None:
    asking = [asyncio.ensure_future(ask(client, COMPLETIONS, prompt="slow")) for _ in range(6)]
    await until(lambda: model.running == 2)
    model.go.set()
    assert [status for status, _ in await asyncio.gather(*asking)] == [200] * 6
    assert model.most == 2


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def test_settings() -> None:
    assert llama_settings({}).context_tokens == LlamaSettings.context_tokens
    with pytest.raises(SettingsError, match="CONTEXT_TOKENS"):
        llama_settings({"CONTEXT_TOKENS": "10"})
