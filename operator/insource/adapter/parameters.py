"""`/v1/audio/transcriptions` and `/translations`: which form fields there are and what they may hold, as at OpenAI.

Pure. What no backend of ours can do is refused with the parameter's name, never silently ignored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from insource.adapter.refusals import client_error

Task = Literal["transcribe", "translate"]
"""As spoken, or in English."""
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
GRANULARITIES = ("segment", "word")
IMPOSSIBLE = {
    "include": "log probabilities are not available from this deployment",
    "chunking_strategy": "this deployment chooses its own chunks",
    "known_speaker_names": "this deployment does not tell speakers apart",
    "known_speaker_references": "this deployment does not tell speakers apart",
    "languages": "give one language as `language`",
    "keywords": "give words to expect as `prompt`",
}
"""Parameters that OpenAI knows and we cannot honour -> why."""
_SINGLE = ("model", "language", "prompt", "response_format", "temperature", "stream")
_POSSIBLE: Mapping[Task, tuple[str, ...]] = {
    "transcribe": (*_SINGLE, "timestamp_granularities"),
    "translate": ("model", "prompt", "response_format", "temperature"),
}
PROMPT_MAX_CHARS = 10_000
_LANGUAGE = re.compile(r"[a-z]{2,3}")


@dataclass(frozen=True)
class Transcription:
    """One well-formed request, without its audio."""

    model: str
    """What the client calls the model."""
    language: str = ""
    prompt: str = ""
    response_format: str = "json"
    temperature: str = ""
    """As sent, checked to be a number from 0 to 1."""
    granularities: tuple[str, ...] = ()
    """Empty unless asked for; then of `GRANULARITIES`, without repetition."""
    streaming: bool = False
    task: Task = "transcribe"


def parse_fields(fields: Sequence[tuple[str, str]], task: Task = "transcribe") -> Transcription:
    """Validate the form's text fields, in order of appearance. Raises a 400 with `param` and what is possible."""
    single: dict[str, str] = {}
    granularities: list[str] = []
    for sent_name, value in fields:
        name = re.sub(r"\[\w*\]$", "", sent_name)
        if name in IMPOSSIBLE:
            raise client_error(
                f"Unsupported parameter: '{name}': {IMPOSSIBLE[name]}.", param=name, code="unsupported_parameter"
            )
        known = name in _POSSIBLE[task]
        if known and name == "timestamp_granularities":
            granularities.append(value)
        elif not known or sent_name != name:
            possible = ", ".join(("file", *_POSSIBLE[task])).replace("granularities", "granularities[]")
            raise client_error(
                f"Unknown parameter: '{sent_name}'. Possible are: {possible}.",
                param=sent_name,
                code="unknown_parameter",
            )
        elif name in single:
            raise client_error(f"The parameter '{name}' was given twice.", param=name, code="duplicate_parameter")
        else:
            single[name] = value
    return replace(_checked(single, granularities), task=task)


def _checked(single: dict[str, str], granularities: list[str]) -> Transcription:
    model = single.get("model", "")
    if not model:
        raise client_error("You must provide a model parameter.", param="model", code="missing_required_parameter")
    if len(model) > 253:
        raise _invalid("model", "a name of at most 253 characters")
    response_format = single.get("response_format", "json")
    if response_format not in FORMATS:
        raise _invalid("response_format", "one of " + ", ".join(FORMATS), response_format)
    language = single.get("language", "").lower()
    if language and not _LANGUAGE.fullmatch(language):
        raise _invalid("language", "an ISO-639-1 code such as 'en'", language)
    prompt = single.get("prompt", "")
    if len(prompt) > PROMPT_MAX_CHARS:
        raise _invalid("prompt", f"at most {PROMPT_MAX_CHARS} characters")
    stream = single.get("stream", "false").lower()
    if stream not in ("true", "false", "1", "0"):
        raise _invalid("stream", "true or false", stream)
    streaming = stream in ("true", "1")
    if streaming and response_format != "json":
        raise _invalid("response_format", "json when stream is true", response_format)
    _check_temperature(single.get("temperature", ""))
    return Transcription(
        model=model,
        language=language,
        prompt=prompt,
        response_format=response_format,
        temperature=single.get("temperature", ""),
        granularities=_check_granularities(granularities, response_format),
        streaming=streaming,
    )


def _check_temperature(text: str) -> None:
    if not text:
        return
    try:
        temperature = float(text)
    except ValueError:
        temperature = math.nan
    if not 0 <= temperature <= 1:
        raise _invalid("temperature", "a number from 0 to 1", text)


def _check_granularities(asked: list[str], response_format: str) -> tuple[str, ...]:
    for granularity in asked:
        if granularity not in GRANULARITIES:
            raise _invalid("timestamp_granularities", "word or segment", granularity)
    if asked and response_format != "verbose_json":
        raise client_error(
            f"timestamp_granularities needs response_format 'verbose_json'; this request asks for '{response_format}'.",
            param="timestamp_granularities",
            code="invalid_value",
        )
    return tuple(dict.fromkeys(asked))


def _invalid(param: str, wanted: str, value: str = "") -> Exception:
    shown = f": '{value[:60]}'" if value else ""
    return client_error(f"Invalid value for '{param}'{shown}. It must be {wanted}.", param=param, code="invalid_value")
