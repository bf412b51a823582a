"""SSML for Azure Speech: any text arrives as it is, and what cannot be said is refused by name before the call."""

from __future__ import annotations

from typing import Any
from xml.parsers import expat

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from insource.adapter.dialects.azure_speech import speech_path
from insource.adapter.dialects.exchange import Exchange
from insource.adapter.dialects.ssml_speech import SSMLSpeech, estimated_s, ssml
from insource.adapter.refusals import Refusal
from insource.adapter.requests import Speech
from insource.emulator.ssml import read_ssml
from insource.env import system_env
from insource.wire.vocabulary import Unit

MODEL = "MAI-Voice-2-Flash"
IN_XML = st.characters(codec="utf-8", exclude_characters="\ufffe\uffff").filter(
    lambda char: char >= " " or char in "\t\n\r"
)


def speech(**changes: Any) -> Speech:
    return Speech.of({"model": "narrator", "input": "Hello", "voice": "en-US-Harper", **changes})


def parsed(document: bytes) -> tuple[list[tuple[str, dict[str, str]]], str]:
    """Elements in order and all text, by a strict parser."""
    elements: list[tuple[str, dict[str, str]]] = []
    text: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, attributes: elements.append((name, attributes))
    parser.CharacterDataHandler = text.append
    parser.Parse(document, True)
    return elements, "".join(text)


@given(st.text(IN_XML, min_size=1, max_size=400), st.sampled_from([0.5, 1.0, 1.25, 2.0]))
@example("a\r\nb\rc\n\t<&>\"']]>--><!--", 1.0)
@example("</prosody></voice><voice name='x'>&amp;&#0;<?xml?><![CDATA[", 2.0)
def test_any_text_arrives_as_it_is_and_adds_no_element(text: str, speed: float) -> None:
    elements, arrived = parsed(ssml(speech(input=text, speed=speed), MODEL))
    assert arrived == text
    names = [name for name, _ in elements]
    assert names == ["speak", "voice", *(["prosody"] if speed != 1 else [])]


@given(st.text(IN_XML | st.sampled_from("\u4f60\uf900\U00020000"), min_size=1).filter(str.strip), st.floats(0.5, 2))
def test_the_rule_of_what_is_billed_is_the_emulators_own(text: str, speed: float) -> None:
    wanted = speech(input=text, speed=speed)
    assert DIALECT.billed(wanted, MODEL) == {Unit.CHARACTERS: read_ssml(ssml(wanted, MODEL)).characters}


def test_the_document() -> None:
    (speak, voice, prosody), _ = parsed(ssml(speech(voice="de-de-Mia", speed=1.005), MODEL))
    assert speak == (
        "speak",
        {"version": "1.0", "xmlns": "http://www.w3.org/2001/10/synthesis", "xml:lang": "de-DE"},
    )
    assert voice == ("voice", {"name": f"de-DE-Mia:{MODEL}"})
    assert prosody[0] == "prosody"
    assert float(prosody[1]["rate"].removesuffix("%")) == pytest.approx(0.5, abs=0.01)
    assert parsed(ssml(speech(speed=0.5), MODEL))[0][2] == ("prosody", {"rate": "-50.00%"})
    assert parsed(ssml(speech(voice=f"en-US-Harper:{MODEL.lower()}"), MODEL))[0][1][1] == {
        "name": f"en-US-Harper:{MODEL}"
    }


class _NoCalls:
    def post(self, headers: Any, body: Any) -> Any:
        raise AssertionError("nothing is sent")


DIALECT = SSMLSpeech(Exchange(_NoCalls(), system_env(), lambda: "key"))
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"instructions": "slowly"}, "instructions", "takes none"),
    ({"stream_format": "sse"}, "stream_format", "sound only"),
    ({"response_format": "aac"}, "response_format", "has no aac. Possible are: mp3, opus, wav, pcm"),
    ({"response_format": "flac"}, "response_format", "has no flac"),
    ({"speed": 0.49}, "speed", "from 0.5 to 2"),
    ({"speed": 2.01}, "speed", "from 0.5 to 2"),
    ({"voice": "alloy"}, "voice", "such as en-US-Harper"),
    ({"voice": {"id": "voice_1"}}, "voice", "such as en-US-Harper"),
    ({"voice": "en-US-Harper:MAI-Voice-1"}, "voice", "such as en-US-Harper"),
    ({"voice": 'en-US-Harper" x="'}, "voice", "such as en-US-Harper"),
    ({"input": "a\x00b"}, "input", "U+0000 at position 1"),
    ({"input": "\x1b[0m"}, "input", "U+001B at position 0"),
    ({"input": "ab\ufffe"}, "input", "U+FFFE at position 2"),
    ({"input": " \n\t"}, "input", "nothing to say"),
    ({"input": "7" * 4096}, "input", "about 1638 seconds"),
    ({"input": "a" * 4096, "speed": 0.5}, "input", "Send it in pieces"),
]


@pytest.mark.parametrize(("changes", "param", "words"), REFUSED)
def test_what_the_vendor_cannot_do_is_refused_by_name(changes: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(Refusal) as refused:
        DIALECT.check_possible(speech(**changes), MODEL)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert words in refused.value.message


@pytest.mark.parametrize(
    "changes", [{}, {"speed": 0.5}, {"speed": 2}, {"input": "a" * 4096}, {"input": "\u6f22" * 2400}]
)
def test_what_it_can_is_not(changes: dict[str, Any]) -> None:
    DIALECT.check_possible(speech(**changes), MODEL)


def test_the_estimate_is_on_the_long_side() -> None:
    """16 characters or 5 syllables a second are what people say; the estimate allows for fewer."""
    prose = "The quick brown fox jumps over the lazy dog. " * 80
    assert len(prose) / 16 < estimated_s(prose) < len(prose) / 10
    assert estimated_s("\u6f22" * 100) >= 100 / 5
    assert estimated_s("1234567890") >= 3.5
    assert estimated_s("a", 0.5) == pytest.approx(2 * estimated_s("a"))


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("https://eastus.tts.speech.microsoft.com", "/cognitiveservices/v1"),
        ("https://acme.cognitiveservices.azure.com", "/tts/cognitiveservices/v1"),
        ("http://127.0.0.1:8080", "/cognitiveservices/v1"),
    ],
)
def test_speech_lies_below_tts_at_a_resources_own_host(endpoint: str, path: str) -> None:
    assert speech_path(endpoint) == path
