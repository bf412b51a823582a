"""OpenAI's transcription request and answers, as its API reference and its recorded answers have them.

`whisper-1`: json, text, srt, vtt, verbose_json; `stream` is ignored. The gpt-4o family: json only, and `stream`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import IO, Any, cast

from aiohttp import BodyPartReader, web

from insource.emulator.engine import Spoken

WHISPER = "whisper-1"
WHISPER_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
GPT_MODELS = ("gpt-4o-transcribe", "gpt-4o-mini-transcribe")
MODELS = (WHISPER, *GPT_MODELS)
EXTENSIONS = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm")
MAX_FILE_BYTES = 26_214_400
LONGEST_PAUSE_S = 0.6
"""A longer silence between words begins a new segment."""


class OpenAIError(Exception):
    """An answer in OpenAI's error shape."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body = {"error": {"message": message, "type": type, "param": param, "code": code}}


@dataclass
class Form:
    """A transcription request. `audio` is an open temporary file: close it."""

    audio: IO[bytes]
    file_name: str | None = None
    size: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    granularities: list[str] = field(default_factory=list)

    @property
    def model(self) -> str:
        return self.fields.get("model", "")

    @property
    def response_format(self) -> str:
        return self.fields.get("response_format", "json")

    @property
    def stream(self) -> bool:
        return self.model in GPT_MODELS and self.fields.get("stream", "").lower() in ("true", "1")


async def read_form(request: web.Request) -> Form:
    """Read and check a request. Raises `OpenAIError`."""
    if request.content_type != "multipart/form-data":
        raise OpenAIError("you must provide a model parameter")
    form = Form(cast(IO[bytes], tempfile.SpooledTemporaryFile(max_size=1 << 20)))  # noqa: SIM115
    try:
        await _read(request, form)
        _check(form)
    except BaseException:
        form.audio.close()
        raise
    form.audio.seek(0)
    return form


async def _read(request: web.Request, form: Form) -> None:
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                raise OpenAIError("Could not parse multipart form")
            if part.name == "file":
                form.file_name = part.filename or ""
                while chunk := await part.read_chunk(1 << 18):
                    form.size += len(chunk)
                    if form.size <= MAX_FILE_BYTES:
                        form.audio.write(chunk)
            elif part.name in ("timestamp_granularities[]", "timestamp_granularities"):
                form.granularities.append(await part.text())
            else:
                form.fields[part.name or ""] = await part.text()
    except ValueError as error:
        raise OpenAIError("Could not parse multipart form") from error


def _check(form: Form) -> None:
    if not form.model:
        raise OpenAIError("you must provide a model parameter")
    if form.model not in MODELS:
        message = f"The model `{form.model}` does not exist or you do not have access to it."
        raise OpenAIError(message, status=404, code="model_not_found")
    if form.file_name is None:
        raise OpenAIError("Field required", param="file", code="missing_required_parameter")
    if form.size > MAX_FILE_BYTES:
        message = f"Maximum content size limit ({MAX_FILE_BYTES}) exceeded ({form.size} bytes read)"
        raise OpenAIError(message, status=413, type="server_error")
    if form.file_name.rpartition(".")[2].lower() not in EXTENSIONS:
        raise OpenAIError(f"Unrecognized file format. Supported formats: {list(EXTENSIONS)}", param="file")
    allowed = WHISPER_FORMATS if form.model == WHISPER else ("json",)
    if form.response_format not in allowed:
        if form.model == WHISPER:
            message = f"Invalid value: '{form.response_format}'. Supported values are: {_quoted(allowed)}."
            raise OpenAIError(message, param="response_format", code="invalid_value")
        message = (
            f"response_format '{form.response_format}' is not compatible with model '{form.model}'. Use 'json' instead."
        )
        raise OpenAIError(message, param="response_format", code="unsupported_value")
    if form.granularities and form.response_format != "verbose_json":
        message = "'timestamp_granularities' is only compatible with response_format 'verbose_json'."
        raise OpenAIError(message, param="timestamp_granularities", code="invalid_value")
    for granularity in form.granularities:
        if granularity not in ("word", "segment"):
            message = f"Invalid value: '{granularity}'. Supported values are: 'word' and 'segment'."
            raise OpenAIError(message, param="timestamp_granularities", code="invalid_value")
    _check_temperature(form.fields.get("temperature", "0"))


def _check_temperature(text: str) -> None:
    try:
        fits = 0 <= float(text) <= 1
    except ValueError:
        fits = False
    if not fits:
        raise OpenAIError(f"Invalid 'temperature': '{text}'.", param="temperature", code="invalid_value")


def _quoted(values: tuple[str, ...]) -> str:
    *first, last = (f"'{value}'" for value in values)
    return f"{', '.join(first)}, and {last}"


def text_of(words: list[Spoken]) -> str:
    """The transcript."""
    return " ".join(word.word for word in words)


def segments_of(words: list[Spoken]) -> list[list[Spoken]]:
    """Words parted at long silences."""
    segments: list[list[Spoken]] = []
    for word in words:
        if segments and word.start - segments[-1][-1].end < LONGEST_PAUSE_S:
            segments[-1].append(word)
        else:
            segments.append([word])
    return segments


def render(form: Form, words: list[Spoken], seconds: float, usage: dict[str, Any]) -> web.Response:
    """The answer in the form that was asked for; text, srt and vtt carry no usage."""
    segments = segments_of(words)
    match form.response_format:
        case "text":
            return web.Response(text=text_of(words) + "\n")
        case "srt":
            cues = [f"{n}\n{_span(s, ',')}\n{text_of(s)}\n\n" for n, s in enumerate(segments, 1)]
            return web.Response(text="".join(cues))
        case "vtt":
            cues = [f"{_span(s, '.')}\n{text_of(s)}\n\n" for s in segments]
            return web.Response(text="WEBVTT\n\n" + "".join(cues))
        case "verbose_json":
            return web.json_response(_verbose(form, words, segments, seconds, usage))
        case _:
            return web.json_response({"text": text_of(words), "usage": usage})


def stream_events(words: list[Spoken], usage: dict[str, Any]) -> list[dict[str, Any]]:
    """Deltas word by word, then the whole text with the usage."""
    deltas = [
        {"type": "transcript.text.delta", "delta": word.word if number == 0 else f" {word.word}"}
        for number, word in enumerate(words)
    ]
    return [*deltas, {"type": "transcript.text.done", "text": text_of(words), "usage": usage}]


def _verbose(
    form: Form, words: list[Spoken], segments: list[list[Spoken]], seconds: float, usage: dict[str, Any]
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": "english",
        "duration": round(seconds, 2),
        "text": text_of(words),
    }
    if "word" in form.granularities:
        body["words"] = [{"word": w.word, "start": w.start, "end": w.end} for w in words]
    if not form.granularities or "segment" in form.granularities:
        body["segments"] = [
            {
                "id": number,
                "seek": 0,
                "start": segment[0].start,
                "end": segment[-1].end,
                "text": f" {text_of(segment)}",
                "tokens": [],
                "temperature": 0.0,
                "avg_logprob": -0.5,
                "compression_ratio": 1.0,
                "no_speech_prob": 0.01,
            }
            for number, segment in enumerate(segments)
        ]
    return {**body, "usage": usage}


def _span(words: list[Spoken], mark: str) -> str:
    return f"{_clock(words[0].start, mark)} --> {_clock(words[-1].end, mark)}"


def _clock(seconds: float, mark: str) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}{mark}{ms % 1000:03d}"
