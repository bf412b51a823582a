"""`POST /speechtotext/transcriptions:transcribe` of Azure Speech, in enhanced mode with a MAI-Transcribe model.

One speaker is heard, whoever speaks: with diarization every phrase is speaker 1.
"""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from insource.emulator.engine import Spoken
from insource.emulator.errors import AzureError, SpeechToTextError
from insource.emulator.forms import segments_of, text_of
from insource.emulator.models import AZURE_SPEECH
from insource.emulator.parts import MalformedError, read_parts
from insource.emulator.service import Answer, Order, Reader, Service
from insource.emulator.sound import RATE, UndecodableError, decode_pcm

API_VERSION = "2025-10-15"
MAX_AUDIO_BYTES = 300_000_000
CONTAINERS = ("wav", "mp3", "flac")
DIARIZED_S = 15 * 60
"""Longer recordings fail when they are diarized."""
NEWEST = "MAI-Transcribe-2"
Locale = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelOptions(_Strict):
    """Of MAI-Transcribe-2."""

    timestamps: Literal["word", "segment", "none"] = "none"
    transcribeStyle: Literal["verbatim", "clean"] = "verbatim"  # noqa: N815


class EnhancedMode(_Strict):
    """Which model."""

    enabled: Literal[True]
    model: Literal["MAI-Transcribe-1", "MAI-Transcribe-1.5", "MAI-Transcribe-2"]
    modelOptions: ModelOptions | None = None  # noqa: N815


class Diarization(_Strict):
    """Who spoke."""

    enabled: bool = False
    maxSpeakers: int | None = Field(default=None, ge=2, le=35)  # noqa: N815


class PhraseList(_Strict):
    """Words to expect."""

    phrases: list[Annotated[str, Field(min_length=1)]] = []


class Definition(_Strict):
    """The part `definition`."""

    enhancedMode: EnhancedMode  # noqa: N815
    locales: list[Locale] = Field(default=[], max_length=1)
    diarization: Diarization | None = None
    phraseList: PhraseList | None = None  # noqa: N815

    @property
    def diarized(self) -> bool:
        return self.diarization is not None and self.diarization.enabled

    @property
    def options(self) -> ModelOptions:
        return self.enhancedMode.modelOptions or ModelOptions()


def transcriber(service: Service) -> Reader:
    """Reads a request."""

    async def read(request: web.Request) -> Order:
        if request.query.get("api-version") != API_VERSION:
            message = f"The requested api-version is not supported. The supported one is {API_VERSION}."
            raise AzureError("UnsupportedApiVersion", message, status=400)
        try:
            parts = await read_parts(request, ("audio",), limit=MAX_AUDIO_BYTES, most=1)
        except MalformedError as error:
            raise SpeechToTextError(f"The multipart form is invalid: {error}.", inner="InvalidPayload") from error
        try:
            unknown = set(parts.fields) - {"definition"}
            if unknown:
                raise _wrong(f"unknown part '{min(unknown)}'")
            definition = read_definition(parts.fields.get("definition"))
            if not parts.files:
                raise _wrong("the part 'audio' is missing")
            if parts.files[0].size == 0:
                raise SpeechToTextError("The audio file is empty.", inner="EmptyAudioFile")
            if parts.files[0].size >= MAX_AUDIO_BYTES:
                raise SpeechToTextError("The audio file is 300 MB or larger.", status=413, inner="AudioTooLarge")
        except BaseException:
            parts.close()
            raise

        async def produce() -> Answer:
            return await _transcribe(service, request, definition, parts.files[0].content)

        return Order(definition.enhancedMode.model, produce, parts.close)

    return read


def read_definition(text: str | None) -> Definition:
    """Raises `SpeechToTextError` that names what is wrong."""
    if text is None:
        raise _wrong("the part 'definition' is missing")
    try:
        definition = Definition.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _wrong(f"definition.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if definition.enhancedMode.model != NEWEST:
        for name, given in (
            ("modelOptions", definition.enhancedMode.modelOptions),
            ("diarization", definition.diarized),
        ):
            if given:
                raise _wrong(f"{name} is not supported by {definition.enhancedMode.model}")
    return definition


def _wrong(message: str) -> SpeechToTextError:
    return SpeechToTextError(f"The request is invalid: {message}.", inner="InvalidPayload")


async def _transcribe(service: Service, request: web.Request, definition: Definition, audio: Any) -> Answer:
    with audio:
        try:
            pcm = await asyncio.to_thread(decode_pcm, audio, CONTAINERS)
        except UndecodableError as error:
            message = "The audio cannot be decoded: it is no WAV, MP3 or FLAC file."
            raise SpeechToTextError(message, status=422, inner="InvalidAudioFormat") from error
    samples = len(pcm) // 2
    if definition.diarized and samples >= DIARIZED_S * RATE:
        message = "Speaker diarization is unavailable for this recording."
        raise AzureError("diarization_unavailable", message, status=503)
    words = await service.ear.recognise(pcm)
    audio_ms = -(-samples * 1000 // RATE)
    model = AZURE_SPEECH[definition.enhancedMode.model]
    await service.bill(request, model, {"audio_ms": audio_ms}, -(-samples // RATE))
    return Answer(json.dumps(rendered(definition, words, audio_ms)).encode(), "application/json; charset=utf-8")


def rendered(definition: Definition, words: list[Spoken], audio_ms: int) -> dict[str, Any]:
    """The answer; `durationMilliseconds` is what is billed."""
    timestamps = definition.options.timestamps
    locale = definition.locales[0] if definition.locales else "en-US"
    phrases = []
    for segment in segments_of(words):
        phrase: dict[str, Any] = {"text": text_of(segment), "locale": locale, "confidence": 0.9}
        if timestamps != "none" or definition.diarized:
            phrase |= _span(segment)
        if definition.diarized:
            phrase["speaker"] = 1
        if timestamps == "word":
            phrase["words"] = [{"text": word.word, **_span([word])} for word in segment]
        phrases.append(phrase)
    return {"durationMilliseconds": audio_ms, "combinedPhrases": [{"text": text_of(words)}], "phrases": phrases}


def _span(words: list[Spoken]) -> dict[str, int]:
    start, end = round(words[0].start * 1000), round(words[-1].end * 1000)
    return {"offsetMilliseconds": start, "durationMilliseconds": end - start}
