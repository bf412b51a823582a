"""SSML as Azure's text-to-speech takes it, parsed strictly: no document type, no entity but XML's five."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

SSML = "http://www.w3.org/2001/10/synthesis"
MSTTS = "http://www.w3.org/2001/mstts"
XML = "http://www.w3.org/XML/1998/namespace"
INSIDE_VOICE = frozenset(
    {f"{SSML} {name}" for name in ("p", "s", "break", "emphasis", "lang", "phoneme", "prosody", "say-as", "sub")}
    | {f"{MSTTS} express-as", f"{MSTTS} silence"}
)
DEEPEST = 32
STYLE_DEGREE = (0.01, 2.0)
RATES = {"x-slow": 0.5, "slow": 0.64, "medium": 1.0, "default": 1.0, "fast": 1.55, "x-fast": 2.0}
_TAG = re.compile(rb"""</?(?:[^"'>]|"[^"]*"|'[^']*')*>""")
_CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
RELATIVE_RATE = re.compile(r"([+-]?)(\d+(?:\.\d+)?)%")


class SsmlError(Exception):
    """The document is refused; the message says why."""


@dataclass(frozen=True)
class Passage:
    """Text that one voice says at one speed."""

    voice: str
    text: str
    speed: float


@dataclass(frozen=True)
class Document:
    """What is to be said, in order, and what it costs."""

    passages: list[Passage]
    characters: int
    """That are billed: those of the text, Chinese ones twice, and of all markup inside of `voice`."""


@dataclass
class _Reading:
    """What the parser knows so far."""

    document: bytes
    markup: int = 0
    """Characters of the tags inside of `voice`."""
    ended: list[bool] = field(default_factory=list)
    """Of each open element: its first tag is its last."""
    passages: list[Passage] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    voice: str = ""
    pending: list[str] = field(default_factory=list)
    """The text since the last tag: the parser gives it in any pieces."""


def read_ssml(document: bytes) -> Document:
    """The passages with their text as it is written. Raises `SsmlError`."""
    reading = _Reading(document)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.EntityDeclHandler = _refuse_doctype
    parser.StartElementHandler = lambda name, attributes: _start(reading, name, attributes, parser.CurrentByteIndex)
    parser.EndElementHandler = lambda name: _end(reading, name, parser.CurrentByteIndex)
    parser.CharacterDataHandler = reading.pending.append
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise SsmlError(f"SSML parsing error: {error}") from error
    except (LookupError, ValueError) as error:  # an encoding that Python does not have
        raise SsmlError("SSML parsing error: unknown encoding") from error
    if not any(passage.text.strip() for passage in reading.passages):
        raise SsmlError("SSML has no text to synthesize")
    text = "".join(passage.text for passage in reading.passages)
    return Document(reading.passages, len(text) + len(_CHINESE.findall(text)) + reading.markup)


def _tag(reading: _Reading, at: int) -> str:
    found = _TAG.match(reading.document, at)
    if found is None:
        raise SsmlError("SSML parsing error: this emulator counts the markup of UTF-8 only")
    return found[0].decode(errors="replace")


def _refuse_doctype(*declared: object) -> NoReturn:
    del declared
    raise SsmlError("SSML parsing error: a document type is not allowed")


def _start(reading: _Reading, name: str, attributes: dict[str, str], at: int) -> None:
    _flush(reading)
    depth = len(reading.path)
    if depth >= DEEPEST:
        raise SsmlError("SSML is nested too deep")
    speed = reading.speeds[-1] if reading.speeds else 1.0
    if depth == 0:
        _check_root(name, attributes)
    elif depth == 1:
        if name != f"{SSML} voice":
            raise SsmlError(f"element '{_short(name)}' is not allowed in 'speak'")
        reading.voice = attributes.get("name", "")
        if not reading.voice:
            raise SsmlError("'voice' needs a name")
    elif name not in INSIDE_VOICE:
        raise SsmlError(f"element '{_short(name)}' is not allowed in 'voice'")
    tag = _tag(reading, at) if depth > 1 else ""
    reading.markup += len(tag)
    reading.ended.append(tag.endswith("/>"))
    if name == f"{MSTTS} express-as":
        _check_style(attributes)
    elif name == f"{SSML} prosody" and "rate" in attributes:
        speed *= _rate(attributes["rate"])
    reading.path.append(name)
    reading.speeds.append(speed)


def _end(reading: _Reading, name: str, at: int) -> None:
    del name
    _flush(reading)
    if not reading.ended.pop() and len(reading.path) > 2:
        reading.markup += len(_tag(reading, at))
    reading.path.pop()
    reading.speeds.pop()


def _flush(reading: _Reading) -> None:
    text = "".join(reading.pending)
    reading.pending.clear()
    if not text:
        return
    if len(reading.path) < 2:
        if text.strip():
            raise SsmlError("text outside of 'voice'")
        return
    reading.passages.append(Passage(reading.voice, text, reading.speeds[-1]))


def _check_root(name: str, attributes: dict[str, str]) -> None:
    if name != f"{SSML} speak":
        raise SsmlError(f"the root is '{_short(name)}', and must be 'speak' of {SSML}")
    if attributes.get("version") != "1.0":
        raise SsmlError("'speak' needs version 1.0")
    if not attributes.get(f"{XML} lang"):
        raise SsmlError("'speak' needs xml:lang")


def _check_style(attributes: dict[str, str]) -> None:
    if not attributes.get("style"):
        raise SsmlError("'mstts:express-as' needs a style")
    low, high = STYLE_DEGREE
    try:
        fits = low <= float(attributes.get("styledegree", "1")) <= high
    except ValueError:
        fits = False
    if not fits:
        raise SsmlError(f"styledegree is a number from {low} to {high}")


def _rate(text: str) -> float:
    """A speed as prosody has it: a word, a factor, or a change in percent; 0.5 to 2."""
    if text in RATES:
        return RATES[text]
    relative = RELATIVE_RATE.fullmatch(text)
    try:
        change = float(relative[2]) / 100 if relative else 0.0
        rate = 1 + (-change if relative and relative[1] == "-" else change) if relative else float(text)
    except ValueError:
        rate = 0.0
    if not 0.5 <= rate <= 2.0:
        raise SsmlError(f"prosody rate '{text[:20]}' is not supported")
    return rate


def _short(name: str) -> str:
    return name.rpartition(" ")[2][:40]
