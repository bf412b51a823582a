"""Azure Speech's fast transcription: what is asked, and its answers in OpenAI's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insource.adapter import rendering
from insource.adapter.dialects.exchange import Exchange
from insource.adapter.dialects.fast_transcription import (
    MOST_BYTES,
    FastTranscriptions,
    definition,
    segments,
    verbose_json,
)
from insource.adapter.dialects.seam import Recording
from insource.adapter.parameters import Transcription
from insource.adapter.refusals import Refusal
from insource.env import system_env

MODEL = "MAI-Transcribe-2"


def wanted(response_format: str = "verbose_json", **changes: Any) -> Transcription:
    return Transcription(model="dictation", response_format=response_format, **changes)


def word(text: str, at: int, length: int = 300) -> dict[str, Any]:
    return {"text": text, "offsetMilliseconds": at, "durationMilliseconds": length}


def phrase(text: str, *words: dict[str, Any]) -> dict[str, Any]:
    return {"text": text, "offsetMilliseconds": 0, "durationMilliseconds": 20_000, "locale": "en", "words": list(words)}


HELLO = phrase("Hello you. How are", word("Hello", 0), word("you", 400), word("How", 900), word("are", 1300, 200))
ANSWER = {
    "durationMilliseconds": 2990,
    "combinedPhrases": [{"text": "Hello you. How are"}],
    "phrases": [HELLO],
}


def test_times_are_asked_for_where_the_answer_needs_them() -> None:
    mode = {"enabled": True, "model": MODEL}
    for plain in ("json", "text"):
        assert definition(wanted(plain), MODEL) == {"enhancedMode": mode}
    timed = {"enhancedMode": {**mode, "modelOptions": {"timestamps": "word"}}, "locales": ["de"]}
    for needed in ("srt", "vtt", "verbose_json"):
        assert definition(wanted(needed, language="de"), MODEL) == timed


def test_an_answer_in_openais_words() -> None:
    assert verbose_json(ANSWER, wanted()) == {
        "text": "Hello you. How are",
        "language": "en",
        "duration": 2.99,
        "usage": {"type": "duration", "seconds": 2.99},
        "segments": [
            {"id": 0, "start": 0.0, "end": 0.7, "text": "Hello you."},
            {"id": 1, "start": 0.9, "end": 1.5, "text": "How are"},
        ],
        "words": [
            {"word": "Hello", "start": 0.0, "end": 0.3},
            {"word": "you", "start": 0.4, "end": 0.7},
            {"word": "How", "start": 0.9, "end": 1.2},
            {"word": "are", "start": 1.3, "end": 1.5},
        ],
    }
    srt = rendering.render("srt", verbose_json(ANSWER, wanted("srt")), granularities=(), audio_ms=2990).decode()
    assert srt.startswith("1\n00:00:00,000 --> 00:00:00,700\nHello you.\n\n2\n00:00:00,900 --> ")


def test_segments_end_before_a_pause_and_after_ten_seconds() -> None:
    assert [text for *_, text in segments(phrase("a b", word("a", 0), word("b", 1300)))] == ["a", "b"]
    assert [text for *_, text in segments(phrase("a b", word("a", 0), word("b", 1299)))] == ["a b"]
    many = [word(f"w{at}", at * 500) for at in range(50)]
    lines = list(segments(phrase(" ".join(each["text"] for each in many), *many)))
    assert len(lines) == 3
    assert all(end - start <= 10_000 for start, end, _ in lines)
    no_spaces = phrase("\u4f60\u597d\u3002\u518d\u89c1", word("\u4f60\u597d", 0), word("\u518d\u89c1", 400))
    assert [text for *_, text in segments(no_spaces)] == ["\u4f60\u597d\u3002", "\u518d\u89c1"]


def test_a_phrase_whose_words_are_not_its_texts_is_one_segment() -> None:
    assert list(segments(phrase("twenty one", word("21", 0)))) == [(0, 20_000, "twenty one")]
    assert list(segments({**phrase("said"), "words": None})) == [(0, 20_000, "said")]


@given(st.lists(st.tuples(st.text("abc.?! ", min_size=1, max_size=8), st.integers(0, 3000)), min_size=1, max_size=30))
def test_no_letter_is_lost_or_doubled(parts: list[tuple[str, int]]) -> None:
    at, words = 0, []
    for text, pause in parts:
        words.append(word(text, at + pause))
        at += pause + 300
    whole = " ".join(text for text, _ in parts)
    lines = list(segments(phrase(whole, *words)))
    assert "".join("".join(text for *_, text in lines).split()) == "".join(whole.split())
    assert all(start <= end for start, end, _ in lines)
    assert [start for start, *_ in lines] == sorted(start for start, *_ in lines)


def test_silence_is_an_answer() -> None:
    silent = verbose_json({"durationMilliseconds": 1000, "combinedPhrases": [{"text": ""}], "phrases": []}, wanted())
    assert (silent["text"], silent["segments"], silent["language"]) == ("", [], "")
    assert verbose_json({"combinedPhrases": [], "phrases": []}, wanted("json", language="de"))["language"] == "de"


@pytest.mark.parametrize("length", [-1, True, "2990", 2.5, None])
def test_a_bill_that_is_none_is_not_believed(length: Any) -> None:
    assert "usage" not in verbose_json({**ANSWER, "durationMilliseconds": length}, wanted())


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"error": {"code": "InternalServerError", "message": "no"}},
        {"combinedPhrases": "text"},
        {"combinedPhrases": [{}], "phrases": []},
        {"combinedPhrases": [{"text": 1}], "phrases": []},
        {"combinedPhrases": [], "phrases": {}},
        {**ANSWER, "phrases": [{"text": "a"}]},
        {**ANSWER, "phrases": [phrase("a", {"text": "a"})]},
        {**ANSWER, "phrases": [{**HELLO, "words": ["a"]}]},
        {**ANSWER, "phrases": [phrase("a", {**word("a", 0), "offsetMilliseconds": "0"})]},
    ],
)
def test_what_is_no_transcript_is_the_vendors_failure(body: Any) -> None:
    with pytest.raises(Refusal) as refused:
        verbose_json(body, wanted())
    assert (refused.value.status, refused.value.reason) == (503, "invalid_answer")


class _NoCalls:
    def post(self, headers: Any, body: Any) -> Any:
        raise AssertionError("nothing is sent")


DIALECT = FastTranscriptions(Exchange(_NoCalls(), system_env(), lambda: "key"), system_env())


@pytest.mark.parametrize(
    ("asked", "model", "param"),
    [
        (wanted("json", prompt="Insource"), MODEL, "prompt"),
        (wanted("json", temperature="0"), MODEL, "temperature"),
        (wanted("srt"), "MAI-Transcribe-1.5", "response_format"),
        (wanted("verbose_json"), "mai-transcribe-1", "response_format"),
    ],
)
def test_what_the_vendor_cannot_do_is_refused_by_name(asked: Transcription, model: str, param: str) -> None:
    with pytest.raises(Refusal) as refused:
        DIALECT.check_possible(asked, model)
    assert (refused.value.status, refused.value.param) == (400, param)


def test_what_it_can_is_not() -> None:
    for response_format in ("json", "text", "srt", "vtt", "verbose_json"):
        DIALECT.check_possible(wanted(response_format), MODEL)
    DIALECT.check_possible(wanted("json", streaming=True, language="de"), "MAI-Transcribe-1.5")


def test_other_audio_and_too_much_of_it_are_refused_before_the_call(tmp_path: Path) -> None:
    for extension in ("wav", "mp3", "flac"):
        DIALECT.check_recording(Recording(wanted(), b"x", "a.ogg", extension, 1), MODEL)
    for extension in ("ogg", "m4a", "webm", "aac"):
        with pytest.raises(Refusal) as refused:
            DIALECT.check_recording(Recording(wanted(), b"x", "a.wav", extension, 1), MODEL)
        assert (refused.value.status, refused.value.param) == (400, "file")
        assert f"does not read {extension}. Send wav, mp3, flac" in refused.value.message
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MOST_BYTES)
    DIALECT.check_recording(Recording(wanted(), large, "a.wav", "wav", 1), MODEL)
    with large.open("ab") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(Refusal) as refused:
        DIALECT.check_recording(Recording(wanted(), large, "a.wav", "wav", 1), MODEL)
    assert refused.value.status == 413
