"""`/v1/completions` and `/v1/chat/completions`: text in, text out, whole or as a stream. Counted in tokens.

A vendor's usage is what it bills, and our own estimate (`metering.tokens`) stands beside it. Our own servers' usage is
the measure itself. Where an answer tells none, or breaks off before it does, the estimate of what has come stays.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import orjson
from aiohttp import web

from insource.adapter.attempts import Attempt
from insource.adapter.dialects.exchange import bounded, object_of
from insource.adapter.dialects.seam import Answer, Dialect, Dialects
from insource.adapter.json_body import read_json
from insource.adapter.metering.tokens import (
    text_bytes,
    tokens_of_bytes,
    tokens_of_input,
    tokens_of_messages,
)
from insource.adapter.refusals import client_error, server_failure
from insource.adapter.replies import EVENT_STREAM, stream, whole
from insource.adapter.requests import ChatCompletion, Completion
from insource.adapter.sse import DONE, event_of, objects
from insource.wire.vocabulary import Modality, Unit

OUTPUT_TOKENS_UNSAID = 4096
"""What is reserved for an answer whose length the request does not bound."""
LIMIT_BYTES = 4 << 20
T = TypeVar("T", Completion, ChatCompletion)


class _TextOperation(Generic[T]):
    """What both paths share; see `Operation`."""

    modality = Modality.TEXT
    limit_bytes = LIMIT_BYTES

    def known(self, wanted: T, attempt: Attempt) -> Mapping[Unit, int]:  # noqa: ARG002
        """See `Operation`."""
        return {Unit.INPUT_TOKENS: max(1, _input_tokens(wanted))}

    def most(self, wanted: T, attempt: Attempt) -> Mapping[Unit, int]:
        """See `Operation`."""
        return {**self.known(wanted, attempt), Unit.OUTPUT_TOKENS: _most_output_tokens(wanted)}

    async def answer(self, request: web.BaseRequest, attempt: Attempt, wanted: T, given: Answer) -> web.StreamResponse:
        """See `Operation`."""
        if wanted.stream:
            return await stream(request, attempt, EVENT_STREAM, _events(given, attempt, wanted))
        body = object_of(await bounded(given.chunks))
        if body is None or not is_completion(body):
            raise server_failure("The backend's answer is no completion.", reason="invalid_answer")
        written = sum(_written(choice) for choice in body["choices"])
        attempt.measured(Unit.OUTPUT_TOKENS, tokens_of_bytes(written))
        note_usage(attempt, body.get("usage"))
        return whole(attempt, "application/json", orjson.dumps({**body, "model": wanted.model}))


class Completions(_TextOperation[Completion]):
    """`/v1/completions`."""

    path = "/v1/completions"

    @asynccontextmanager
    async def receive(self, request: web.BaseRequest, limit_bytes: int) -> AsyncIterator[Completion]:
        """See `Operation`."""
        yield _checked(Completion.of(await read_json(request, limit_bytes)))

    def dialect(self, dialects: Dialects) -> Dialect[Completion] | None:
        """See `Operation`."""
        return dialects.completion


class ChatCompletions(_TextOperation[ChatCompletion]):
    """`/v1/chat/completions`."""

    path = "/v1/chat/completions"

    @asynccontextmanager
    async def receive(self, request: web.BaseRequest, limit_bytes: int) -> AsyncIterator[ChatCompletion]:
        """See `Operation`."""
        yield _checked(ChatCompletion.of(await read_json(request, limit_bytes)))

    def dialect(self, dialects: Dialects) -> Dialect[ChatCompletion] | None:
        """See `Operation`."""
        return dialects.chat_completion


def is_completion(body: Mapping[str, Any] | None) -> bool:
    """Whether it holds at least one choice and no error."""
    choices = body.get("choices") if body is not None else None
    return isinstance(choices, list) and bool(choices) and not (body or {}).get("error")


def note_usage(attempt: Attempt, usage: object) -> None:
    """Take the backend's count of tokens; a count of nothing where we see something is none."""
    if not isinstance(usage, Mapping):
        return
    for unit, name in ((Unit.INPUT_TOKENS, "prompt_tokens"), (Unit.OUTPUT_TOKENS, "completion_tokens")):
        count = usage.get(name)
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            continue
        if count == 0 and attempt.counted(unit):
            continue
        if attempt.route.vendor:
            attempt.billed(unit, count)
        else:
            attempt.measured(unit, count)


async def _events(given: Answer, attempt: Attempt, wanted: Completion | ChatCompletion) -> AsyncGenerator[bytes]:
    """The chunks, closed by `[DONE]`. Raises a Refusal when the backend ends early."""
    if given.content_type != EVENT_STREAM:
        raise server_failure("The backend's answer is no stream of events.", reason="invalid_answer")
    shows_usage = wanted.stream_options.include_usage
    written = 0
    begun = False
    try:
        async for event in objects(given.chunks):
            if event is None:
                if not begun:
                    raise server_failure("The backend's answer is empty.", reason="invalid_answer")
                yield b"data: " + DONE + b"\n\n"
                return
            choices = event.get("choices")
            if event.get("error") or not isinstance(choices, list):
                break
            new = sum(_written(choice) for choice in choices)
            written += new
            if new or not begun:  # our estimate does not replace a server's own count of the same text
                attempt.measured(Unit.OUTPUT_TOKENS, tokens_of_bytes(written))
            begun = True
            note_usage(attempt, event.get("usage"))
            if not shows_usage:
                event.pop("usage", None)
                if not choices:  # nothing of the answer: the usage that we asked for, or what a filter found
                    continue
            event["model"] = wanted.model
            yield event_of(event)
    except ValueError as problem:
        raise server_failure("The backend sent something else than events.", reason="invalid_answer") from problem
    raise server_failure("The backend's stream ended early.", reason="broken_off")


def _checked(wanted: T) -> T:
    if "stream_options" in wanted.model_fields_set and not wanted.stream:
        raise client_error("stream_options needs stream to be true.", param="stream_options", code="invalid_value")
    if isinstance(wanted, Completion) and "best_of" in wanted.model_fields_set and wanted.best_of < wanted.n:
        raise client_error("best_of must be at least n.", param="best_of", code="invalid_value")
    return wanted


def _input_tokens(wanted: Completion | ChatCompletion) -> int:
    if isinstance(wanted, Completion):
        return tokens_of_input(wanted.prompt) + tokens_of_input(wanted.suffix)
    return tokens_of_messages([message.model_dump() for message in wanted.messages], wanted.tools)


def _most_output_tokens(wanted: Completion | ChatCompletion) -> int:
    if isinstance(wanted, Completion):
        prompts = wanted.prompt
        several = not isinstance(prompts, str) and not isinstance(prompts[0], int)
        return (
            (wanted.max_tokens or OUTPUT_TOKENS_UNSAID)
            * max(wanted.n, wanted.best_of)
            * (len(prompts) if several else 1)
        )
    return (wanted.max_completion_tokens or wanted.max_tokens or OUTPUT_TOKENS_UNSAID) * wanted.n


def _written(choice: object) -> int:
    """Bytes of text in a choice, whole or a piece of one."""
    if not isinstance(choice, Mapping):
        return 0
    return sum(text_bytes(choice.get(name)) for name in ("text", "message", "delta"))
