"""Azure Speech's fast transcription with a MAI-Transcribe model: a multipart form with `audio` and `definition`.

Source: https://learn.microsoft.com/azure/ai-services/speech-service/mai-transcribe, read 2026-11-29. What the vendor
calls a segment is all that is said in one language, so whoever wants times gets segments made of its words.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, BinaryIO

import aiohttp
import orjson

from insource.adapter.dialects.exchange import Exchange, bounded, object_of
from insource.adapter.dialects.openai_transcriptions import form_bytes, form_stream, opened, recording_bytes
from insource.adapter.dialects.seam import Recording, Transcript, Work
from insource.adapter.parameters import Transcription
from insource.adapter.refusals import Refusal, client_error, server_failure, too_large
from insource.env import Env

PATH = "/speechtotext/transcriptions:transcribe"
API_VERSION = "2025-10-15"
"""Used unless the Vendor names another."""
READS = ("wav", "mp3", "flac")
MOST_BYTES = 299_999_999
"""Less than 300 MB."""
TIMED_FORMATS = ("srt", "vtt", "verbose_json")
_TIMELESS = ("mai-transcribe-1",)
"""Models (by the start of their name, in lower case) that have no `modelOptions`: no times."""
_SENTENCE_ENDS = ".!?\u3002\uff01\uff1f"
_PAUSE_MS = 1000
_LONGEST_MS = 10_000
"""A segment ends with its sentence, before a pause, and at the latest after this long: no longer than can be read."""


class FastTranscriptions:
    """Calls `POST {endpoint}/speechtotext/transcriptions:transcribe?api-version=`."""

    def __init__(self, exchange: Exchange, env: Env) -> None:
        """`exchange` posts to that URL."""
        self._exchange = exchange
        self._boundary = f"insource-{env.ids.uuid()}"

    def check_possible(self, wanted: Transcription, model: str) -> None:
        """See `TranscriptionDialect`."""
        for name in ("prompt", "temperature"):
            if getattr(wanted, name):
                raise client_error(
                    f"Unsupported parameter: '{name}': this deployment's vendor has none.",
                    param=name,
                    code="unsupported_parameter",
                )
        if wanted.response_format in TIMED_FORMATS and model.lower().startswith(_TIMELESS):
            raise client_error(
                f"This deployment's model gives no times; response_format '{wanted.response_format}' is not possible. "
                "Possible are: json, text.",
                param="response_format",
                code="unsupported_value",
            )

    def check_recording(self, recording: Recording, model: str) -> None:  # noqa: ARG002
        """See `TranscriptionDialect`. Another format is refused, never encoded anew: that would lose quality."""
        if recording.extension not in READS:
            raise client_error(
                f"This deployment's vendor does not read {recording.extension}. Send {', '.join(READS)}.",
                param="file",
                code="unsupported_audio_format",
            )
        if recording_bytes(recording) > MOST_BYTES:
            raise too_large(MOST_BYTES)

    @asynccontextmanager
    async def call(self, work: Work[Recording]) -> AsyncIterator[Transcript]:
        """See `TranscriptionDialect`."""
        recording = work.wanted
        fields = [("definition", orjson.dumps(definition(recording.wanted, work.model)).decode())]
        # Note: the vendor reads the format from the bytes, but a name that contradicts them helps nobody.
        filename = f"audio.{recording.extension}"
        file: BinaryIO | None = None
        try:
            body: bytes | aiohttp.MultipartWriter
            if isinstance(recording.content, bytes):
                body = form_bytes(fields, filename, recording.content, self._boundary, "audio")
            else:
                file = opened(recording.content)
                body = form_stream(fields, filename, file, self._boundary, "audio")
            content_type = f"multipart/form-data; boundary={self._boundary}"
            async with self._exchange.post(work, content_type, body) as reply:
                yield Transcript(verbose_json(object_of(await bounded(reply.chunks())), recording.wanted), None)
        finally:
            if file is not None:
                file.close()


def definition(wanted: Transcription, model: str) -> dict[str, Any]:
    """The form's `definition`. Times are asked for only where the answer needs them."""
    mode: dict[str, Any] = {"enabled": True, "model": model}
    if wanted.response_format in TIMED_FORMATS:
        mode["modelOptions"] = {"timestamps": "word"}
    return {"enhancedMode": mode, **({"locales": [wanted.language]} if wanted.language else {})}


def verbose_json(body: Mapping[str, Any] | None, wanted: Transcription) -> dict[str, Any]:
    """The vendor's answer as OpenAI's `verbose_json`, without times if none were asked for.

    `usage` is `durationMilliseconds`, which is what the vendor bills. Raises a server failure for what is no answer.
    """
    phrases = _objects((body or {}).get("phrases", []))
    combined = _objects((body or {}).get("combinedPhrases"))
    if body is None or phrases is None or combined is None:
        raise _no_transcript()
    texts = [each.get("text") for each in combined]
    if not all(isinstance(text, str) for text in texts):
        raise _no_transcript()
    answer: dict[str, Any] = {
        "text": " ".join(str(text).strip() for text in texts),
        "language": next((str(phrase["locale"]) for phrase in phrases if phrase.get("locale")), wanted.language),
    }
    length = body.get("durationMilliseconds")
    if isinstance(length, int) and not isinstance(length, bool) and length >= 0:
        answer["duration"] = length / 1000
        answer["usage"] = {"type": "duration", "seconds": length / 1000}
    if wanted.response_format in TIMED_FORMATS:
        try:
            answer["segments"] = [
                {"id": at, "start": start / 1000, "end": end / 1000, "text": text}
                for at, (start, end, text) in enumerate(each for phrase in phrases for each in segments(phrase))
            ]
            answer["words"] = [
                {"word": str(word["text"]), "start": start / 1000, "end": end / 1000}
                for phrase in phrases
                for word in phrase.get("words") or ()
                for start, end in (_span(word),)
            ]
        except (KeyError, TypeError, AttributeError) as problem:
            raise server_failure("The backend's answer has no times.", reason="invalid_answer") from problem
    return answer


def segments(phrase: Mapping[str, Any]) -> Iterator[tuple[int, int, str]]:
    """Start, end (milliseconds) and text of the segments of a phrase: a sentence each, as far as its words tell.

    Raises KeyError or TypeError for one without times.
    """
    words: Sequence[Mapping[str, Any]] = phrase.get("words") or ()
    places = _places(str(phrase["text"]), [str(word["text"]) for word in words])
    if not places:
        start, end = _span(phrase)
        yield start, end, str(phrase["text"])
        return
    text, first = str(phrase["text"]), 0
    for at, word in enumerate(words):
        start, (_, end) = _span(words[first])[0], _span(word)
        last = at == len(words) - 1
        until = len(text) if last else places[at + 1]
        if not last:
            tail = text[places[at] : until].rstrip()
            following = _span(words[at + 1])
            ends = tail.endswith(tuple(_SENTENCE_ENDS)) or following[0] - end >= _PAUSE_MS
            if not ends and following[1] - start <= _LONGEST_MS:
                continue
        yield start, end, text[0 if first == 0 else places[first] : until].strip()
        first = at + 1


def _places(text: str, words: Sequence[str]) -> list[int]:
    """Where each word begins in the text; empty if they are not its words."""
    places, at = [], 0
    for word in words:
        at = text.find(word, at)
        if at < 0:
            return []
        places.append(at)
        at += len(word)
    return places


def _span(timed: Mapping[str, Any]) -> tuple[int, int]:
    start, length = timed["offsetMilliseconds"], timed["durationMilliseconds"]
    if isinstance(start, bool) or not isinstance(start, int) or not isinstance(length, int):
        raise TypeError("a time is no whole number")
    return start, start + length


def _objects(value: Any) -> list[dict[str, Any]] | None:
    fits = isinstance(value, list) and all(isinstance(each, dict) for each in value)
    return value if fits else None


def _no_transcript() -> Refusal:
    return server_failure("The backend's answer is not a transcript.", reason="invalid_answer")
