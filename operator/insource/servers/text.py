"""The HTTP face of a language model: OpenAI's completions and chat completions over any `LanguageModel`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import orjson
import structlog
from aiohttp import web

from insource.env import system_env
from insource.servers.generation import (
    ContextLengthError,
    Finish,
    Generations,
    LanguageModel,
    Piece,
    PromptRefusedError,
    Task,
    generating,
)
from insource.servers.json_body import Body, read_json
from insource.servers.requests import RefusedRequestError
from insource.servers.serving import ModelServer
from insource.servers.settings import ServerSettings
from insource.servers.text_requests import MAX_BODY_BYTES, TextRequest, chat_request, completion_request
from insource.servers.text_shapes import ChatShape, CompletionShape, Shape, usage
from insource.wire.errors import error_body

log = structlog.get_logger("insource.servers")
DONE = b"data: [DONE]\n\n"
Reader = Callable[[Body, str, int], TextRequest]


class TextServer(ModelServer[LanguageModel]):
    """A language model behind `/v1/completions` and `/v1/chat/completions`."""

    def __init__(self, settings: ServerSettings, load: Callable[[], LanguageModel]) -> None:
        super().__init__(settings, load)
        self._env = system_env()

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """See `ModelServer`."""
        return [web.post("/v1/completions", self._complete), web.post("/v1/chat/completions", self._chat)]

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        return await self.counted(request, self._answer_completion)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self.counted(request, self._answer_chat)

    async def _answer_completion(self, request: web.Request, model: LanguageModel) -> web.StreamResponse:
        return await self._answer(request, model, completion_request, CompletionShape)

    async def _answer_chat(self, request: web.Request, model: LanguageModel) -> web.StreamResponse:
        return await self._answer(request, model, chat_request, ChatShape)

    async def _answer(
        self, request: web.Request, model: LanguageModel, read: Reader, shape_of: Callable[[str, int, str], Shape]
    ) -> web.StreamResponse:
        asked = read(await read_json(request, MAX_BODY_BYTES), self.settings.model_name, model.context_tokens)
        shape = shape_of(self._env.ids.uuid(), int(self._env.clock.now().timestamp()), asked.model)
        async with generating(model, tasks_of(asked), self.threads) as run:
            try:
                if asked.stream:
                    return await _stream(request, run, shape, asked)
                return await _whole(run, shape, asked)
            except ContextLengthError as error:
                param = "messages" if asked.messages else "prompt"
                raise RefusedRequestError(str(error), param=param, code="context_length_exceeded") from error
            except PromptRefusedError as error:
                param = "messages" if asked.messages else "prompt"
                raise RefusedRequestError(str(error), param=param) from error


def tasks_of(asked: TextRequest) -> list[Task]:
    """One task per choice, prompt by prompt; choices of one prompt differ by their seed."""
    prompts = asked.prompts or ("",)
    return [
        Task(index=number * asked.n + again, sampling=asked.sampling_of(again), prompt=prompt, messages=asked.messages)
        for number, prompt in enumerate(prompts)
        for again in range(asked.n)
    ]


async def _whole(run: Generations, shape: Shape, asked: TextRequest) -> web.Response:
    texts: dict[int, list[str]] = {index: [] for index in range(asked.choices)}
    ends: dict[int, Finish] = {}
    async for item in run.items():
        if isinstance(item, Finish):
            ends[item.index] = item
        else:
            texts[item.index].append(item.text)
    body = shape.whole([("".join(texts[index]), ends[index]) for index in sorted(texts)], usage(ends.values(), asked.n))
    return web.Response(body=orjson.dumps(body), content_type="application/json")


async def _stream(request: web.Request, run: Generations, shape: Shape, asked: TextRequest) -> web.StreamResponse:
    items = run.items()
    first = await anext(items)  # whatever is wrong with the prompt is told before the status is sent
    response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
    await response.prepare(request)
    ends: list[Finish] = []
    more = {"usage": None} if asked.include_usage else {}
    try:
        for event in shape.begin(asked.choices):
            await _send(response, {**event, **more})
        async for item in _chain(first, items):
            if isinstance(item, Finish):
                ends.append(item)
            await _send(response, {**shape.event(item), **more})
        if asked.include_usage:
            await _send(response, {**shape.head(), "choices": [], "usage": usage(ends, asked.n)})
    except ConnectionError:
        raise
    except Exception as error:  # the status is sent: all that is left is an event, and an end without [DONE]
        log.exception("stream failed")
        await _send(response, error_body(f"The engine failed: {type(error).__name__}", type="server_error"))
        raise
    await response.write(DONE)
    await response.write_eof()
    return response


async def _chain(first: Piece | Finish, rest: AsyncIterator[Piece | Finish]) -> AsyncIterator[Piece | Finish]:
    yield first
    async for item in rest:
        yield item


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(b"data: " + orjson.dumps(event) + b"\n\n")
