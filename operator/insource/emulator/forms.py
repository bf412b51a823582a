"""OpenAI's transcription and translation requests and answers, as its API reference and its recorded answers have them.

`whisper-1`: json, text, srt, vtt, verbose_json; `stream` is ignored. The gpt-4o family: json only, and `stream`.
Only `whisper-1` translates; the engine behind it hears English and translates nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Literal

from aiohttp import web

from insource.emulator.engine import Spoken
from insource.emulator.errors import OpenAIError
from insource.emulator.models import TRANSCRIBERS, Kind, Model
from insource.emulator.parts import File, MalformedError, read_parts
from insource.emulator.service import Answer

WHISPER_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
NOT_TRANSLATED = ("language", "stream", "timestamp_granularities[]", "timestamp_granularities", "include[]")
"""Fields that the translation endpoint does not have."""
REPEATED = ("timestamp_granularities[]", "timestamp_granularities", "include[]", "languages[]", "keywords[]")
EXTENSIONS = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm")
MAX_FILE_BYTES = 26_214_400
LONGEST_PAUSE_S = 0.6
"""A longer silence between words begins a new segment."""


@dataclass(frozen=True)
class Form:
    """A request."""

    fields: dict[str, str]
    granularities: list[str]
    file: File | None
    """Close it."""
    whisper: bool
    task: Literal["transcribe", "translate"]

    @property
    def audio(self) -> IO[bytes]:
        """The content of the file, which a checked form has."""
        assert self.file is not None
        return self.file.content

    @property
    def response_format(self) -> str:
        return self.fields.get("response_format", "json")

    @property
    def stream(self) -> bool:
        return not self.whisper and self.fields.get("stream", "").lower() in ("true", "1")


Find = Callable[[str, tuple[Kind, ...]], Model]
"""The model of a name, if it is of one of these kinds. Raises `VendorError`."""


async def read_form(request: web.Request, find: Find, task: Literal["transcribe", "translate"]) -> tuple[Form, Model]:
    """Read and check a request. Raises `OpenAIError`."""
    if request.content_type != "multipart/form-data":
        raise OpenAIError("you must provide a model parameter")
    try:
        parts = await read_parts(request, ("file",), limit=MAX_FILE_BYTES, most=1, repeated=REPEATED)
    except MalformedError as error:
        raise OpenAIError(f"Could not parse multipart form: {error}") from error
    try:
        granularities = [text for name in REPEATED[:2] for text in parts.lists.get(name, [])]
        fields = {**{name: texts[-1] for name, texts in parts.lists.items()}, **parts.fields}
        model = find(fields.get("model", ""), ("whisper",) if task == "translate" else TRANSCRIBERS)
        form = Form(fields, granularities, parts.files[0] if parts.files else None, model.kind == "whisper", task)
        _check(form)
    except BaseException:
        parts.close()
        raise
    return form, model


def _check(form: Form) -> None:
    if form.task == "translate":
        for name in NOT_TRANSLATED:
            if name in form.fields:
                raise OpenAIError(f"Unrecognized request argument supplied: {name}", param=name)
    if form.file is None:
        raise OpenAIError("Field required", param="file", code="missing_required_parameter")
    if form.file.size > MAX_FILE_BYTES:
        message = f"Maximum content size limit ({MAX_FILE_BYTES}) exceeded ({form.file.size} bytes read)"
        raise OpenAIError(message, status=413, type="server_error")
    if form.file.file_name.rpartition(".")[2].lower() not in EXTENSIONS:
        raise OpenAIError(f"Unrecognized file format. Supported formats: {list(EXTENSIONS)}", param="file")
    allowed = WHISPER_FORMATS if form.whisper else ("json",)
    if form.response_format not in allowed:
        if form.whisper:
            message = f"Invalid value: '{form.response_format}'. Supported values are: {_quoted(allowed)}."
            raise OpenAIError(message, param="response_format", code="invalid_value")
        message = (
            f"response_format '{form.response_format}' is not compatible with model '{form.fields.get('model', '')}'. "
            "Use 'json' instead."
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


def render(form: Form, words: list[Spoken], seconds: float, usage: dict[str, Any]) -> Answer:
    """The answer in the form that was asked for; text, srt and vtt carry no usage, and no translation does."""
    segments = segments_of(words)
    match form.response_format:
        case "text":
            return _plain(text_of(words) + "\n")
        case "srt":
            cues = [f"{n}\n{_span(s, ',')}\n{text_of(s)}\n\n" for n, s in enumerate(segments, 1)]
            return _plain("".join(cues))
        case "vtt":
            cues = [f"{_span(s, '.')}\n{text_of(s)}\n\n" for s in segments]
            return _plain("WEBVTT\n\n" + "".join(cues))
        case "verbose_json":
            body = _verbose(form, words, segments, seconds, usage)
        case _:
            body = {"text": text_of(words), "usage": usage}
    if form.task == "translate":
        del body["usage"]
    return Answer(json.dumps(body).encode())


def _plain(text: str) -> Answer:
    return Answer(text.encode(), "text/plain; charset=utf-8")


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
        "task": form.task,
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
