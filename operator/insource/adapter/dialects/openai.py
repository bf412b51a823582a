"""OpenAI's wire format beside transcription, towards the server of an in-house pod and towards OpenAI.

The request goes on as it came, with the backend's name for the model; the answer is OpenAI's already.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import orjson

from insource.adapter.calls import Calls
from insource.adapter.dialects.exchange import Exchange, bearer
from insource.adapter.dialects.openai_transcriptions import (
    NO_LIMITS,
    OPENAI_LIMITS,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    OpenAITranscriptions,
    OpenAITranslations,
)
from insource.adapter.dialects.seam import Answer, Dialect, Dialects, Work
from insource.adapter.picture_form import Editing, Picture
from insource.adapter.refusals import Refusal, client_error, server_failure
from insource.adapter.requests import ChatCompletion, Completion, ImageGeneration, Request, Speech
from insource.env import Env

SPEECH = "/audio/speech"
IMAGE_GENERATIONS = "/images/generations"
IMAGE_EDITS = "/images/edits"
COMPLETIONS = "/completions"
CHAT_COMPLETIONS = "/chat/completions"
EMBEDDINGS = "/embeddings"
"""Paths below the base URL."""
_OLD_VOICES = ("tts-1",)
"""Models of OpenAI (by the start of their id) that take no instructions and stream no events."""
_PICTURES_ONLY = ("gpt-image", "chatgpt-image")
"""Models of OpenAI that give pictures, never links, and know no `response_format`."""
R = TypeVar("R", bound=Request)
Body = dict[str, Any]
Fitted = Callable[[R, str, Body], Body]
"""A request, its model and its body -> the body that this model takes. Raises 400 for what it cannot do."""


def openai_dialects(
    calls: Callable[[str], Calls],
    env: Env,
    key: Callable[[], str] | None = None,
    key_headers: Callable[[str], Mapping[str, str]] = bearer,
) -> Dialects:
    """OpenAI's wire format for every modality. `calls` make those of a path below the base URL.

    `key` returns the present API key. None: a server of ours, which is asked for everything and refuses by itself.
    """
    vendor = key is not None

    def each(path: str, fit: Fitted[R]) -> OpenAIJSON[R]:
        return OpenAIJSON(Exchange(calls(path), env, key, key_headers), fit)

    transcriptions = Exchange(calls(TRANSCRIPTIONS), env, key, key_headers)
    translations = Exchange(calls(TRANSLATIONS), env, key, key_headers)
    return Dialects(
        transcription=OpenAITranscriptions(transcriptions, env, OPENAI_LIMITS if vendor else NO_LIMITS),
        speech=each(SPEECH, fit_speech if vendor else as_it_is),
        image_generation=each(IMAGE_GENERATIONS, fit_images if vendor else as_it_is),
        # Which of the servers that we run can translate, or edit pictures, no object says; so none is asked to.
        translation=OpenAITranslations(translations, env, OPENAI_LIMITS) if vendor else None,
        image_edit=OpenAIImageEdits(Exchange(calls(IMAGE_EDITS), env, key, key_headers), env) if vendor else None,
        completion=each(COMPLETIONS, with_usage),
        chat_completion=each(CHAT_COMPLETIONS, with_usage),
        embedding=each(EMBEDDINGS, as_it_is),
    )


class OpenAIJSON(Dialect[R]):
    """Posts JSON to one path."""

    def __init__(self, exchange: Exchange, fit: Fitted[R]) -> None:
        self._exchange = exchange
        self._fit = fit

    def check_possible(self, wanted: R, model: str) -> None:
        """See `Dialect`."""
        self._fit(wanted, model, {})

    @asynccontextmanager
    async def call(self, work: Work[R]) -> AsyncIterator[Answer]:
        """See `Dialect`."""
        body = self._fit(work.wanted, work.model, work.wanted.sent_as(work.model))
        async with self._exchange.post(work, "application/json", orjson.dumps(body)) as reply:
            yield Answer(reply.content_type, reply.chunks())


class OpenAIImageEdits(Dialect[Editing]):
    """Posts a form with pictures, streamed from where they lie."""

    def __init__(self, exchange: Exchange, env: Env) -> None:
        self._exchange = exchange
        # One for all: nobody who sends us pictures can know it, so none holds it.
        self._boundary = f"insource-{env.ids.uuid()}"

    def check_possible(self, wanted: Editing, model: str) -> None:
        """See `Dialect`."""
        fit_images(wanted.wanted, model, {})

    @asynccontextmanager
    async def call(self, work: Work[Editing]) -> AsyncIterator[Answer]:
        """See `Dialect`."""
        editing = work.wanted
        fields = fit_images(editing.wanted, work.model, editing.wanted.sent_as(work.model))
        with ExitStack() as files:
            form = picture_form(fields, editing.pictures, self._boundary, files)
            content_type = f"multipart/form-data; boundary={self._boundary}"
            async with self._exchange.post(work, content_type, form) as reply:
                yield Answer(reply.content_type, reply.chunks())


def picture_form(fields: Body, pictures: Sequence[Picture], boundary: str, files: ExitStack) -> aiohttp.MultipartWriter:
    """A form that reads its pictures while it is sent; `files` closes them. Raises a server failure if one is gone."""
    form = aiohttp.MultipartWriter("form-data", boundary)
    for name, value in fields.items():
        field = form.append(str(value), {"content-type": "text/plain; charset=utf-8"})
        field.set_content_disposition("form-data", name=name)
    for picture in pictures:
        try:
            file = files.enter_context(picture.path.open("rb"))
        except OSError as problem:
            raise server_failure("The upload cannot be read again.", reason="spool_unavailable") from problem
        part = form.append(file, {"content-type": picture.content_type})
        part.set_content_disposition("form-data", name=picture.name, filename=picture.filename)
    return form


def as_it_is(wanted: Request, model: str, body: Body) -> Body:  # noqa: ARG001
    """The backend is asked for everything."""
    return body


def fit_speech(wanted: Speech, model: str, body: Body) -> Body:
    """OpenAI's older voices do less."""
    if model.startswith(_OLD_VOICES):
        if wanted.instructions:
            raise _impossible("instructions", "this deployment's model takes none")
        if wanted.stream_format == "sse":
            raise _impossible("stream_format", "this deployment's model sends sound only: audio")
    return body


def fit_images(wanted: ImageGeneration, model: str, body: Body) -> Body:
    """OpenAI's newer models give pictures only, and refuse to be asked for them."""
    if not model.startswith(_PICTURES_ONLY):
        return body
    if wanted.response_format == "url":
        raise _impossible("response_format", "this deployment's model gives pictures, not links: b64_json")
    return {name: value for name, value in body.items() if name != "response_format"}


def with_usage(wanted: Completion | ChatCompletion, model: str, body: Body) -> Body:  # noqa: ARG001
    """A stream must tell its usage, whether or not the client wants to see it."""
    if not wanted.stream:
        return body
    options: Mapping[str, Any] = body.get("stream_options") or {}
    return {**body, "stream_options": {**options, "include_usage": True}}


def _impossible(param: str, why: str) -> Refusal:
    return client_error(f"Unsupported value for '{param}': {why}.", param=param, code="unsupported_value")
