"""SSML of any text: what we write, XML parsers read back as it was said; what the emulator reads, so does another."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

from insource.adapter.dialects.exchange import Exchange
from insource.adapter.dialects.ssml_speech import SSMLSpeech, ssml
from insource.adapter.refusals import Refusal
from insource.adapter.requests import Speech
from insource.emulator.ssml import Passage, SsmlError, read_ssml
from insource.env import system_env
from tests.fuzz import forms

MODEL = "MAI-Voice-2-Flash"
SSML = "{http://www.w3.org/2001/10/synthesis}"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_DIALECT = SSMLSpeech(Exchange(None, system_env(), lambda: "key"))  # type: ignore[arg-type]


def written(data: bytes) -> None:
    """`ssml`: a speed, a voice after a length, and the text: refused with 4xx, or read back with nothing added."""
    speed, length = (data[0] if data else 75) / 75, data[1] % 64 if len(data) > 1 else 0
    voice = data[2 : 2 + length].decode("utf-8", "replace") or "en-US-Harper"
    text = data[2 + length :].decode("utf-8", "replace")
    try:
        wanted = Speech.of({"model": "m", "input": text, "voice": voice, "speed": speed, "response_format": "mp3"})
        _DIALECT.check_possible(wanted, MODEL)
    except Refusal as refusal:
        forms.is_the_clients(refusal)
        return
    document = ssml(wanted, MODEL)
    root = ElementTree.fromstring(document)
    assert "".join(root.itertext()) == text
    elements = [(element.tag, element.attrib) for element in root.iter()]
    assert elements[0] == (f"{SSML}speak", {"version": "1.0", LANG: elements[0][1][LANG]})
    name = elements[1][1]["name"]
    assert elements[1] == (f"{SSML}voice", {"name": name})
    assert name.lower() == f"{voice.partition(':')[0]}:{MODEL}".lower()
    assert name.startswith(f"{elements[0][1][LANG]}-")
    if speed == 1:
        assert len(elements) == 2
    else:
        (prosody,) = elements[2:]
        assert prosody == (f"{SSML}prosody", {"rate": prosody[1]["rate"]})
        assert abs(1 + float(prosody[1]["rate"].removesuffix("%")) / 100 - speed) < 0.0001
    (heard,) = read_ssml(document).passages
    assert heard == Passage(name, text, heard.speed)


def read(data: bytes) -> None:
    """The emulator's `read_ssml`: refused by its own error, or it has all the text that another parser finds."""
    try:
        passages = read_ssml(data).passages
    except SsmlError:
        return
    said = "".join(passage.text for passage in passages)
    assert said.split() == "".join(ElementTree.fromstring(data).itertext()).split()
    assert all(passage.voice and passage.speed > 0 for passage in passages)


TARGETS: dict[str, Callable[[bytes], None]] = {"ssml": written, "vendor_ssml": read}
