"""`POST .../completions`, `/chat/completions` and `/embeddings` of the OpenAI dialect.

Tools, log probabilities, images and token arrays are refused by name: the engine repeats its prompt, and has none.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from insource.emulator.checks import Strict, check, invalid, read_json, unsupported
from insource.emulator.forms import Find
from insource.emulator.letters import Written, count_tokens, vector, write
from insource.emulator.models import Model
from insource.emulator.service import ID, Answer, Order, Reader, Service

EVENTS = "text/event-stream; charset=utf-8"
TOKENS_PER_MESSAGE = 4
TOKENS_PER_CHAT = 3
LONGEST_INPUT = 8192
"""Tokens of one text that embeds."""
DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072}
TAKES_MAX_TOKENS = ("gpt-6-luna",)
"""Chat models that still take `max_tokens`; the gpt-5 family wants `max_completion_tokens`."""

Stop = str | Annotated[list[str], Field(max_length=4)]


class StreamOptions(Strict):
    """Of a streamed answer."""

    include_usage: bool = False
    include_obfuscation: bool = False


class _Sampling(Strict):
    """What both endpoints share. An engine that repeats its prompt samples nothing; bounds are checked all the same."""

    model: str = ""
    n: int = Field(default=1, ge=1, le=128)
    stop: Stop | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float = Field(default=1, ge=0, le=2)
    top_p: float = Field(default=1, ge=0, le=1)
    presence_penalty: float = Field(default=0, ge=-2, le=2)
    frequency_penalty: float = Field(default=0, ge=-2, le=2)
    seed: int | None = None
    user: str | None = None
    logit_bias: dict[str, float] | None = None


class TextPart(Strict):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(Strict):
    """One turn."""

    role: Literal["developer", "system", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    name: str | None = None

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ResponseFormat(Strict):
    """Only text is written."""

    type: Literal["text"]


class ChatBody(_Sampling):
    """A conversation."""

    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    response_format: ResponseFormat | None = None
    metadata: dict[str, str] | None = None
    store: bool = False
    safety_identifier: str | None = None


class CompletionBody(_Sampling):
    """Prompts."""

    prompt: str | Annotated[list[str], Field(min_length=1)]
    max_tokens: int = Field(default=16, ge=1)
    best_of: int = Field(default=1, ge=1, le=20)
    echo: bool = False
    suffix: str | None = None


class EmbeddingBody(Strict):
    """Texts."""

    model: str = ""
    input: str | Annotated[list[str], Field(min_length=1, max_length=2048)]
    dimensions: int | None = Field(default=None, ge=1)
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = None


def chatter(service: Service, find: Find) -> Reader:
    """Reads a chat; `find` knows the models."""

    async def read(request: web.Request) -> Order:
        body = check(ChatBody, await read_json(request))
        model = find(body.model, ("chat",))
        _check_stream(body)
        if body.max_tokens is not None and model.name not in TAKES_MAX_TOKENS:
            raise unsupported("max_tokens", model.name)
        if body.max_tokens is not None and body.max_completion_tokens is not None:
            raise invalid("max_tokens", "max_tokens and max_completion_tokens cannot both be set.")

        async def produce() -> Answer:
            limit = body.max_completion_tokens or body.max_tokens
            spoken = [message.text for message in body.messages if message.role == "user"] or [body.messages[-1].text]
            written = [write(spoken[-1], n, max_tokens=limit, stop=_stops(body)) for n in range(body.n)]
            texts = sum(count_tokens(message.text) for message in body.messages)
            usage = _usage(texts + TOKENS_PER_MESSAGE * len(body.messages) + TOKENS_PER_CHAT, written)
            await _bill(service, request, model, usage)
            return _answer(service, request, body, model, written, usage, _CHAT)

        return Order(model.name, produce)

    return read


def completer(service: Service, find: Find) -> Reader:
    """Reads prompts; `find` knows the models."""

    async def read(request: web.Request) -> Order:
        body = check(CompletionBody, await read_json(request))
        model = find(body.model, ("completion",))
        _check_stream(body)
        if body.best_of > 1:
            raise unsupported("best_of", model.name)

        async def produce() -> Answer:
            prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
            written = []
            for prompt in prompts:
                for number in range(body.n):
                    one = write(prompt, number, max_tokens=body.max_tokens, stop=_stops(body))
                    written.append(one)
            usage = _usage(sum(count_tokens(prompt) for prompt in prompts), written)
            await _bill(service, request, model, usage)
            if body.echo:
                written = [
                    Written(prompts[number // body.n] + one.text, one.finish_reason)
                    for number, one in enumerate(written)
                ]
            return _answer(service, request, body, model, written, usage, _COMPLETION)

        return Order(model.name, produce)

    return read


def embedder(service: Service, find: Find) -> Reader:
    """Reads texts; `find` knows the models."""

    async def read(request: web.Request) -> Order:
        body = check(EmbeddingBody, await read_json(request))
        model = find(body.model, ("embedding",))
        most = DIMENSIONS[model.name]
        if body.dimensions is not None and body.dimensions > most:
            raise invalid("dimensions", f"{model.name} has at most {most}.")
        texts = [body.input] if isinstance(body.input, str) else body.input
        tokens = [count_tokens(text) for text in texts]
        if not all(texts):
            raise invalid("input", "input cannot be an empty string.")
        if max(tokens) > LONGEST_INPUT:
            raise invalid("input", f"maximum context length is {LONGEST_INPUT} tokens.")

        async def produce() -> Answer:
            total = sum(tokens)
            await service.bill(request, model, {"input_tokens": total})
            data = [
                {"object": "embedding", "index": number, "embedding": _coded(body, text, body.dimensions or most)}
                for number, text in enumerate(texts)
            ]
            usage = {"prompt_tokens": total, "total_tokens": total}
            answer = {"object": "list", "data": data, "model": model.name, "usage": usage}
            return Answer(json.dumps(answer).encode())

        return Order(model.name, produce)

    return read


def _coded(body: EmbeddingBody, text: str, dimensions: int) -> str | list[float]:
    found = vector(text, dimensions)
    return base64.b64encode(found.tobytes()).decode() if body.encoding_format == "base64" else found.tolist()


def _check_stream(body: _Sampling) -> None:
    if body.stream_options is not None and not body.stream:
        raise invalid("stream_options", "the 'stream_options' parameter is only allowed when 'stream' is enabled.")


def _stops(body: _Sampling) -> list[str]:
    found = [body.stop] if isinstance(body.stop, str) else body.stop or []
    return [one for one in found if one]


def _usage(prompt_tokens: int, written: list[Written]) -> dict[str, Any]:
    completion_tokens = sum(len(one.pieces) for one in written)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


async def _bill(service: Service, request: web.Request, model: Model, usage: dict[str, Any]) -> None:
    units = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
    await service.bill(request, model, units)


class _Shape(Strict):
    """How an endpoint names its answers."""

    prefix: str
    whole: str
    part: str
    chat: bool

    def choice(self, index: int, text: str | None, reason: str | None, *, streamed: bool) -> dict[str, Any]:
        """One entry of `choices`."""
        choice: dict[str, Any] = {"index": index, "logprobs": None, "finish_reason": reason}
        if not self.chat:
            return {"text": text or "", **choice}
        if not streamed:
            return {"message": {"role": "assistant", "content": text, "refusal": None}, **choice}
        return {"delta": {} if text is None else {"content": text}, **choice}


_CHAT = _Shape(prefix="chatcmpl", whole="chat.completion", part="chat.completion.chunk", chat=True)
_COMPLETION = _Shape(prefix="cmpl", whole="text_completion", part="text_completion", chat=False)


def _answer(
    service: Service,
    request: web.Request,
    body: _Sampling,
    model: Model,
    written: list[Written],
    usage: dict[str, Any],
    shape: _Shape,
) -> Answer:
    head = {
        "id": f"{shape.prefix}-{request[ID]}",
        "object": shape.part if body.stream else shape.whole,
        "created": int(service.env.clock.now().timestamp()),
        "model": model.name,
    }
    if body.stream:
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        return Answer(_stream(head, written, usage if with_usage else None, shape), EVENTS)
    choices = [shape.choice(n, one.text, one.finish_reason, streamed=False) for n, one in enumerate(written)]
    return Answer(json.dumps({**head, "choices": choices, "usage": usage}).encode())


async def _stream(
    head: dict[str, Any], written: list[Written], usage: dict[str, Any] | None, shape: _Shape
) -> AsyncIterator[bytes]:
    """Piece by piece, then why it ended, then the usage where it was asked for, then `[DONE]`."""
    empty = {} if usage is None else {"usage": None}
    for index, one in enumerate(written):
        if shape.chat:
            opening = shape.choice(index, "", None, streamed=True)
            opening["delta"] = {"role": "assistant", "content": "", "refusal": None}
            yield _event({**head, "choices": [opening], **empty})
        for piece in one.pieces:
            yield _event({**head, "choices": [shape.choice(index, piece, None, streamed=True)], **empty})
        yield _event({**head, "choices": [shape.choice(index, None, one.finish_reason, streamed=True)], **empty})
    if usage is not None:
        yield _event({**head, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _event(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"
