"""The `model` of a JSON body: a walk over its braces and strings, for it may hold megabytes of base64."""

from __future__ import annotations

import re
from enum import Enum

import orjson

from insource.gateway.peeking import LONGEST_RAW, BadBodyError, checked, missing, not_text, too_long, twice

_SPACE = b" \t\r\n"
_LEAP = re.compile(rb'["{}\[\],:]')
_DEEP_LEAP = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
"""Whole strings, numbers and words: all that changes nothing below the top."""
MOST_MARKS = 50_000
"""Braces, and strings at the top. Each costs us time, and others have to wait for it."""
_END_OF_STRING = re.compile(rb'["\\]')


class _At(Enum):
    START = 0
    BETWEEN = 1
    STRING = 2
    END = 3


class JsonModel:
    """Reads `model` at the top of a JSON object."""

    def __init__(self) -> None:
        self._at = _At.START
        self._depth = 0
        self._marks = 0
        self._escaped = False
        self._raw: bytearray | None = None
        """The string that is being read, if anybody wants it."""
        self._names_key = True
        """The next string at the top is a key."""
        self._wanted = False
        """What follows is the model."""
        self._model: str | None = None

    def feed(self, piece: bytes) -> None:
        """The next bytes."""
        place = 0
        while place < len(piece):
            if self._at is _At.BETWEEN:
                place = self._between(piece, place)
            elif self._at is _At.STRING:
                place = self._string(piece, place)
            else:
                place = self._outside(piece, place)

    def model(self) -> str:
        """The name, when the body is over."""
        if self._at is not _At.END:
            raise _not_json("it ends too early" if self._at is not _At.START else "it is empty")
        if self._model is None:
            raise missing()
        return self._model

    def _outside(self, piece: bytes, place: int) -> int:
        """Before the object, or after it."""
        rest = piece[place:].lstrip(_SPACE)
        if rest and self._at is _At.END:
            raise _not_json("something follows after its end")
        if rest and not rest.startswith(b"{"):
            raise BadBodyError("The body must be a JSON object.", code="invalid_json")
        if rest:
            self._at, self._depth = _At.BETWEEN, 1
        return len(piece) - len(rest) + bool(rest)

    def _between(self, piece: bytes, place: int) -> int:
        """Numbers, words and spaces are leapt over."""
        if self._depth > 1:
            leap = _DEEP_LEAP.match(piece, place)
            place = leap.end() if leap else place
        found = _LEAP.search(piece, place)
        if found is None:
            return len(piece)
        self._count(found[0])
        mark = found[0]
        if mark == b'"':
            self._begin_string()
        elif mark in b"{[":
            if self._wanted and self._depth == 1:
                raise not_text("a string")
            self._depth += 1
        elif mark in b"}]":
            self._value_ends()
            self._depth -= 1
            if self._depth == 0:
                self._at = _At.END
        elif self._depth == 1 and mark == b",":
            self._value_ends()
            self._names_key = True
        elif self._depth == 1:
            self._names_key = False
        return found.end()

    def _count(self, mark: bytes) -> None:
        # Note: what is counted must not depend on where a piece ends.
        self._marks += mark in b"{}[]" or (mark == b'"' and self._depth == 1)
        if self._marks > MOST_MARKS:
            raise BadBodyError(
                f"The body has more than {MOST_MARKS} braces, brackets and keys: no call needs so many.",
                code="invalid_json",
            )

    def _begin_string(self) -> None:
        self._at = _At.STRING
        if self._depth == 1 and (self._names_key or self._wanted):
            self._raw = bytearray(b'"')

    def _string(self, piece: bytes, place: int) -> int:
        if self._escaped:
            self._escaped = False
            self._keep(piece, place, place + 1)
            return place + 1
        found = _END_OF_STRING.search(piece, place)
        end = len(piece) if found is None else found.end()
        self._keep(piece, place, end)
        if found is not None and found[0] == b"\\":
            self._escaped = True
        elif found is not None:
            self._at = _At.BETWEEN
            self._string_ends()
        return end

    def _keep(self, piece: bytes, start: int, end: int) -> None:
        if self._raw is None:
            return
        # Note: a key is kept a little longer than any that could be ours, so that it is not taken for a shorter one.
        self._raw += piece[start : min(end, start + LONGEST_RAW)]
        if self._wanted and len(self._raw) > LONGEST_RAW:
            raise too_long()
        del self._raw[LONGEST_RAW:]

    def _string_ends(self) -> None:
        raw, self._raw = self._raw, None
        if raw is None or self._depth != 1:
            return
        if self._names_key:
            self._wanted = _text(bytes(raw)) == "model"
            if self._wanted and self._model is not None:
                raise twice()
            return
        text = _text(bytes(raw))
        if text is None:
            raise not_text("text that is valid JSON and valid Unicode")
        self._model = checked(text)
        self._wanted = False

    def _value_ends(self) -> None:
        if self._depth == 1 and self._wanted:
            raise not_text("a string")


def _text(raw: bytes) -> str | None:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, str) else None


def _not_json(why: str) -> BadBodyError:
    return BadBodyError(f"The body is not valid JSON: {why}.", code="invalid_json")
