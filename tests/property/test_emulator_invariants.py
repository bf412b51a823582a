"""What holds for every text, document and request that an emulated vendor is given."""

from __future__ import annotations

import json
from contextlib import suppress
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insource.emulator.azure_images import GenerationBody
from insource.emulator.checks import check
from insource.emulator.errors import OpenAIError, SpeechToTextError
from insource.emulator.fast_transcription import read_definition
from insource.emulator.faults import half
from insource.emulator.images import EditBody, ImageBody
from insource.emulator.letters import tokens_of, vector, write
from insource.emulator.pictures import draw, save
from insource.emulator.speech import SpeechBody
from insource.emulator.ssml import SsmlError, read_ssml
from insource.emulator.text import ChatBody, CompletionBody, EmbeddingBody
from insource.emulator.voices import LONGEST_PIECE, pieces

unhurried = settings(deadline=None, max_examples=50)
# Characters that XML 1.0 can hold; a carriage return becomes a line feed there.
xml_text = st.text(
    st.characters(codec="utf-8", min_codepoint=0x20, exclude_characters="￾￿"), min_size=1, max_size=200
).filter(str.strip)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=10,
)
HEAD = "<speak version='1.0' xmlns='http://www.w3.org/2001/10/synthesis' xml:lang='en-US'><voice name='a'>"
TAIL = "</voice></speak>"


@unhurried
@given(xml_text)
def test_the_characters_of_ssml_are_those_of_the_text(text: str) -> None:
    found = read_ssml(f"{HEAD}{escape(text)}{TAIL}".encode()).passages
    assert "".join(passage.text for passage in found) == text


@unhurried
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_document_is_more_than_refused(document: bytes) -> None:
    for content in (document, HEAD.encode() + document + TAIL.encode()):
        with suppress(SsmlError):
            read_ssml(content)


@unhurried
@given(st.lists(st.sampled_from(["<p>", "</p>", "<voice name='b'>", "</voice>", "a", "<break/>", "&amp;", "<!--x-->"])))
def test_no_nesting_is_more_than_refused(parts: list[str]) -> None:
    try:
        found = read_ssml(f"{HEAD}{''.join(parts)}{TAIL}".encode()).passages
    except SsmlError:
        return
    assert "".join(passage.text for passage in found).replace("&", "") == "a" * parts.count("a")


@unhurried
@given(st.text(max_size=500))
def test_tokens_are_the_text(text: str) -> None:
    assert "".join(tokens_of(text)) == text


@unhurried
@given(st.text(max_size=100), st.integers(1, 30), st.lists(st.text(min_size=1, max_size=3), max_size=4))
def test_what_is_written_keeps_to_its_limit_and_stops(prompt: str, limit: int, stop: list[str]) -> None:
    found = write(prompt, 0, max_tokens=limit, stop=stop)
    assert len(found.pieces) <= limit
    assert not any(sequence in found.text for sequence in stop)


@unhurried
@given(st.text(max_size=60), st.integers(1, 64))
def test_vectors_are_of_length_one(text: str, dimensions: int) -> None:
    assert float((vector(text, dimensions) ** 2).sum()) == pytest.approx(1, abs=1e-5)


@unhurried
@given(st.text(max_size=1500))
def test_pieces_keep_every_letter_and_are_short(text: str) -> None:
    found = pieces(text)
    assert all(0 < len(piece) <= LONGEST_PIECE for piece in found)
    assert "".join("".join(found).split()) == "".join(text.split())


@unhurried
@given(
    st.text(max_size=100), st.sampled_from([(16, 16), (48, 16), (160, 320)]), st.sampled_from(["png", "jpeg", "webp"])
)
def test_every_prompt_can_be_drawn(prompt: str, size: tuple[int, int], output_format: str) -> None:
    assert save(draw(prompt, 0, size), output_format)


@unhurried
@given(st.dictionaries(st.sampled_from(["model", "prompt", "input", "voice", "messages", "n", "stop"]), json_value))
def test_any_json_is_a_request_or_an_error_that_names_a_parameter(found: dict[str, object]) -> None:
    for model in (SpeechBody, ChatBody, CompletionBody, EmbeddingBody, ImageBody, EditBody, GenerationBody):
        refused: OpenAIError | None = None
        try:
            check(model, found)
        except OpenAIError as error:
            refused = error
        if refused is not None:
            assert isinstance(refused.body, dict)
            assert refused.body["error"]["param"].partition("[")[0].partition(".")[0] in (*found, *model.model_fields)


@unhurried
@given(st.text(max_size=60) | json_value.map(json.dumps))
def test_any_definition_is_read_or_refused(text: str) -> None:
    with pytest.raises(SpeechToTextError):
        read_definition(text)


@unhurried
@given(st.lists(st.binary(max_size=20), max_size=10))
def test_half_of_an_answer_is_its_first_half(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    assert b"".join(half(chunks)) == whole[: len(whole) // 2]
