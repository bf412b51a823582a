"""Transcripts in the formats that clients ask for: json, text, srt, vtt, verbose_json and server-sent events.

Pure. A transcript comes as the backend's JSON (json or verbose_json); what lacks the parts that a format needs is a
ValueError: the backend's answer was no answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

CONTENT_TYPES = {
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "text/plain; charset=utf-8",
    "vtt": "text/plain; charset=utf-8",
}
"""Response format -> content type, as OpenAI sends them."""


@dataclass(frozen=True)
class Segment:
    """A stretch of speech; times in seconds."""

    start: float
    end: float
    text: str


def render(
    response_format: str,
    body: Mapping[str, Any],
    *,
    granularities: tuple[str, ...],
    audio_ms: int,
    task: str = "transcribe",
) -> bytes:
    """The answer to the client, from the backend's `body` and our measure. Raises ValueError if `body` lacks parts."""
    text = checked_text(body)
    if response_format == "text":
        return f"{text}\n".encode()
    if response_format == "json":
        usage = body.get("usage")
        return orjson.dumps({"text": text, "usage": usage if isinstance(usage, Mapping) else usage_of(audio_ms)})
    if response_format == "srt":
        return srt(segments_of(body)).encode()
    if response_format == "vtt":
        return vtt(segments_of(body)).encode()
    return orjson.dumps(verbose(body, granularities=granularities, audio_ms=audio_ms, task=task))


def verbose(
    body: Mapping[str, Any], *, granularities: tuple[str, ...], audio_ms: int, task: str = "transcribe"
) -> dict[str, Any]:
    """verbose_json with just the granularities asked for (OpenAI's default: segment)."""
    wanted = granularities or ("segment",)
    duration = body.get("duration")
    answer: dict[str, Any] = {
        "task": task,
        "language": str(body.get("language") or ""),
        "duration": float(duration) if isinstance(duration, int | float) else audio_ms / 1000,
        "text": checked_text(body),
    }
    if "segment" in wanted:
        segments_of(body)
        answer["segments"] = body["segments"]
    if "word" in wanted:
        words = body.get("words")
        if not isinstance(words, list) or not all(isinstance(word, Mapping) and "start" in word for word in words):
            raise ValueError("the answer has no words")
        answer["words"] = words
    usage = body.get("usage")
    answer["usage"] = usage if isinstance(usage, Mapping) else usage_of(audio_ms)
    return answer


def checked_text(body: Mapping[str, Any]) -> str:
    """The transcript's text; ValueError if there is none (an empty one is fine: silence)."""
    text = body.get("text")
    if not isinstance(text, str):
        raise ValueError("the answer has no text")
    return text.strip()


def segments_of(body: Mapping[str, Any]) -> tuple[Segment, ...]:
    """The segments with their times; ValueError if they are missing or malformed."""
    raw = body.get("segments")
    if not isinstance(raw, list):
        raise ValueError("the answer has no segments")
    try:
        segments = tuple(Segment(float(one["start"]), float(one["end"]), str(one["text"]).strip()) for one in raw)
    except (KeyError, TypeError) as problem:
        raise ValueError("the answer has a malformed segment") from problem
    if not all(math.isfinite(one.start) and math.isfinite(one.end) for one in segments):
        raise ValueError("the answer has a segment without finite times")
    return segments


def usage_of(audio_ms: int) -> dict[str, Any]:
    """OpenAI's duration usage: whole seconds, rounded up."""
    return {"type": "duration", "seconds": -(-audio_ms // 1000)}


def srt(segments: Iterable[Segment]) -> str:
    """SubRip, numbered from 1, as Whisper writes it."""
    return "".join(
        f"{number}\n{_stamp(one.start, ',')} --> {_stamp(one.end, ',')}\n{_cue(one.text)}\n\n"
        for number, one in enumerate(segments, start=1)
    )


def vtt(segments: Iterable[Segment]) -> str:
    """WebVTT."""
    cues = "".join(f"{_stamp(one.start, '.')} --> {_stamp(one.end, '.')}\n{_cue(one.text)}\n\n" for one in segments)
    return f"WEBVTT\n\n{cues}"


def delta_event(delta: str) -> bytes:
    """One `transcript.text.delta` event."""
    return _event({"type": "transcript.text.delta", "delta": delta})


def done_event(text: str, usage: Mapping[str, Any] | None, audio_ms: int) -> bytes:
    """The closing `transcript.text.done` event, always with usage."""
    return _event({"type": "transcript.text.done", "text": text, "usage": usage or usage_of(audio_ms)})


def _event(body: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _cue(text: str) -> str:
    # Note: a blank line ends a cue and "-->" starts one: neither may come from the text.
    return " ".join(text.split()).replace("-->", "->")


def _stamp(seconds: float, mark: str) -> str:
    milliseconds = max(0, round(seconds * 1000))
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, thousandths = divmod(rest, 1000)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}{mark}{thousandths:03d}"
