"""Whatever is asked, and whatever a vendor answers: a dialect gives a request or an answer that fits, or a Refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import given
from hypothesis import strategies as st

from insource.adapter import rendering
from insource.adapter.dialects.azure_images import MOST_PIXELS, SMALLEST_SIDE, MAIImages, images_response, usage_of
from insource.adapter.dialects.azure_openai import path_of
from insource.adapter.dialects.exchange import Exchange, error_in, wait_s
from insource.adapter.dialects.fast_transcription import definition, verbose_json
from insource.adapter.dialects.ssml_speech import LONGEST_S, SSMLSpeech, estimated_s, ssml
from insource.adapter.parameters import FORMATS, Transcription
from insource.adapter.refusals import Refusal
from insource.adapter.requests import ImageGeneration, Speech, whole_size
from insource.env import system_env

ENV = system_env()
SAYABLE = SSMLSpeech(Exchange(None, ENV, lambda: "key"))  # type: ignore[arg-type]
DRAWABLE = MAIImages(Exchange(None, ENV, lambda: "key"), ENV)  # type: ignore[arg-type]

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=80)
speeches = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "input": texts,
        "voice": st.sampled_from(["en-US-Harper", "alloy", "de-DE-Mia:MAI-X", "x:"]),
    },
    optional={
        "instructions": texts,
        "response_format": st.sampled_from(["mp3", "opus", "aac", "flac", "wav", "pcm"]),
        "speed": st.floats(0.25, 4),
        "stream_format": st.sampled_from(["audio", "sse"]),
        "user": texts,
    },
)
images = st.fixed_dictionaries(
    {"model": st.just("m"), "prompt": texts},
    optional={
        "n": st.integers(1, 10),
        "size": st.one_of(
            st.just("auto"), st.tuples(st.integers(760, 1400), st.integers(760, 1400)).map(lambda s: f"{s[0]}x{s[1]}")
        ),
        "quality": st.sampled_from(["auto", "low", "hd"]),
        "response_format": st.sampled_from(["b64_json", "url"]),
        "output_format": st.sampled_from(["png", "jpeg", "webp"]),
        "output_compression": st.integers(0, 100),
        "background": st.sampled_from(["auto", "transparent", "opaque"]),
        "moderation": st.sampled_from(["auto", "low"]),
        "style": st.sampled_from(["vivid", "natural"]),
    },
)
anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text(max_size=8)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                ["phrases", "combinedPhrases", "text", "words", "locale", "offsetMilliseconds", "durationMilliseconds",
                 "data", "b64_json", "usage", "num_output_tokens", "input_tokens", "error", "message", "code"]
            ),
            inner, max_size=5,
        ),
    ),
    max_leaves=25,
)  # fmt: skip


T = TypeVar("T")


def outcome(call: Callable[[], T]) -> T | Refusal:
    """What comes of it; anything but a Refusal goes on up."""
    try:
        return call()
    except Refusal as refusal:
        return refusal


def possible(dialect: Any, wanted: Any) -> bool:
    refusal = outcome(lambda: dialect.check_possible(wanted, "MAI-X"))
    if isinstance(refusal, Refusal):
        assert refusal.status == 400
        assert refusal.param in type(wanted).model_fields
    return refusal is None


def is_vendors_failure(told: object) -> bool:
    if isinstance(told, Refusal):
        assert (told.status, told.reason) == (503, "invalid_answer")
    return isinstance(told, Refusal)


@given(speeches)
def test_speech_is_refused_by_name_or_fits(asked: dict[str, Any]) -> None:
    wanted = Speech.of(asked)
    if possible(SAYABLE, wanted):
        assert estimated_s(wanted.input, wanted.speed) <= LONGEST_S
        assert not wanted.instructions
        assert b":MAI-X" in ssml(wanted, "MAI-X")


@given(images)
def test_a_picture_is_refused_by_name_or_fits(asked: dict[str, Any]) -> None:
    wanted = ImageGeneration.of(asked)
    if possible(DRAWABLE, wanted):
        width, height = whole_size(wanted.size) or (1024, 1024)
        assert min(width, height) >= SMALLEST_SIDE
        assert width * height <= MOST_PIXELS
        assert (wanted.n, wanted.output_format, wanted.style) == (1, "png", "vivid")
        assert wanted.response_format != "url"


@given(anything, st.sampled_from(FORMATS))
def test_any_answer_to_a_recording_is_a_transcript_or_the_vendors_failure(body: Any, response_format: str) -> None:
    wanted = Transcription(model="m", response_format=response_format)
    assert definition(wanted, "MAI-Transcribe-2")["enhancedMode"]["enabled"] is True
    told = outcome(lambda: verbose_json(body if isinstance(body, dict) else None, wanted))
    if not is_vendors_failure(told):
        assert isinstance(told, dict)
        assert isinstance(rendering.render(response_format, told, granularities=(), audio_ms=1000), bytes)


@given(anything)
def test_any_answer_to_a_prompt_is_a_picture_or_the_vendors_failure(body: Any) -> None:
    given_ = body if isinstance(body, dict) else None
    answer = outcome(lambda: images_response(given_, 1))
    if not is_vendors_failure(answer):
        assert isinstance(answer, dict)
        assert len(answer["data"]) == 1
    told = usage_of((given_ or {}).get("usage"))
    assert all(value >= 0 for value in told.values() if isinstance(value, int))


@given(st.one_of(anything.map(lambda value: json.dumps(value).encode()), st.binary(max_size=200)),
       st.sampled_from(["application/json", "text/plain", "text/html", ""]))  # fmt: skip
def test_any_error_is_read(content: bytes, content_type: str) -> None:
    error = error_in(content, content_type)
    assert isinstance(str(error.get("message") or ""), str)


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text(max_size=12)))
def test_any_wait_is_at_least_a_second(headers: dict[str, str]) -> None:
    assert wait_s(headers, ENV) >= 1


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_no_name_of_a_deployment_leaves_its_place_in_the_path(name: str) -> None:
    path = path_of("/audio/speech", name, "2024-10-21")
    assert path.count("/") == 5
    assert path.endswith("/audio/speech?api-version=2024-10-21")
    assert path.count("?") == 1
    assert "#" not in path
