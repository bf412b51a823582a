"""A transcript and its forms: OpenAI's json, text, srt, vtt, verbose_json and stream events. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json"]
RESPONSE_FORMATS: tuple[ResponseFormat, ...] = ("json", "text", "srt", "vtt", "verbose_json")


@dataclass(frozen=True)
class Word:
    """One word and when it was said, in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Segment:
    """A stretch of speech as the recogniser cut it; times in seconds, `text` with its leading space."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    tokens: tuple[int, ...] = ()
    seek: int = 0
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 1.0
    no_speech_prob: float = 0.0


def full_text(segments: Sequence[Segment]) -> str:
    """The transcript without leading or trailing space."""
    return "".join(segment.text for segment in segments).strip()


def usage(duration_s: float) -> dict[str, Any]:
    """OpenAI's usage by duration, in whole seconds, rounded up."""
    return {"type": "duration", "seconds": math.ceil(duration_s)}


def render_json(segments: Sequence[Segment], duration_s: float) -> dict[str, Any]:
    """Body for `json`."""
    return {"text": full_text(segments), "usage": usage(duration_s)}


def render_verbose(segments: Sequence[Segment], duration_s: float, *, words: bool) -> dict[str, Any]:
    """Body for `verbose_json`: always with segments, with words where they were asked for."""
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": "english",
        "duration": round(duration_s, 3),
        "text": full_text(segments),
        "segments": [
            {
                "id": number,
                "seek": segment.seek,
                "start": round(segment.start, 2),
                "end": round(segment.end, 2),
                "text": segment.text,
                "tokens": list(segment.tokens),
                "temperature": segment.temperature,
                "avg_logprob": segment.avg_logprob,
                "compression_ratio": segment.compression_ratio,
                "no_speech_prob": segment.no_speech_prob,
            }
            for number, segment in enumerate(segments)
        ],
        "usage": usage(duration_s),
    }
    if words:
        body["words"] = [
            {"word": word.text.strip(), "start": round(word.start, 2), "end": round(word.end, 2)}
            for segment in segments
            for word in segment.words
        ]
    return body


def render_text(segments: Sequence[Segment]) -> str:
    """Body for `text`: the transcript and a newline, as OpenAI sends it."""
    return full_text(segments) + "\n"


def render_srt(segments: Sequence[Segment]) -> str:
    """Body for `srt` (SubRip)."""
    blocks = [
        f"{number}\n{_clock(segment.start, ',')} --> {_clock(segment.end, ',')}\n{segment.text.strip()}\n"
        for number, segment in enumerate(segments, 1)
    ]
    return "\n".join(blocks) + "\n"


def render_vtt(segments: Sequence[Segment]) -> str:
    """Body for `vtt` (WebVTT)."""
    blocks = [
        f"{_clock(segment.start, '.')} --> {_clock(segment.end, '.')}\n{segment.text.strip()}\n" for segment in segments
    ]
    return "WEBVTT\n\n" + "\n".join(blocks) + "\n"


def delta_event(text: str) -> dict[str, Any]:
    """One piece of a streamed transcript; all deltas joined are the text of `done_event`."""
    return {"type": "transcript.text.delta", "delta": text}


def done_event(text: str) -> dict[str, Any]:
    """The last event of a stream."""
    return {"type": "transcript.text.done", "text": text}


def _clock(seconds: float, mark: str) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}{mark}{ms % 1000:03d}"
