"""The `model` of a multipart form, wherever in it: files are passed over as they come, and nothing of them is kept."""

from __future__ import annotations

import re
import warnings
from enum import Enum

from aiohttp import parse_content_disposition

from insource.gateway.peeking import LONGEST_RAW, BadBodyError, checked, missing, not_text, too_long, twice

MOST_PARTS = 128
LONGEST_HEAD = 8192
"""Bytes of one part's headers."""
LONGEST_PADDING = 256
"""Spaces after a boundary: some old mailers write them."""
_BOUNDARY = re.compile(r"[ -~]{0,69}[!-~]")
_PLAIN = re.compile(rb'form-data; ?name="([^"\\\r\n]*)"(?:; ?filename="[^"\\\r\n]*")?')
_ENCODED = b"content-transfer-encoding"
_AS_IS = (b"7bit", b"8bit", b"binary")


class _At(Enum):
    BODY = 0
    """In a part, or before the first one."""
    BOUNDARY = 1
    HEAD = 2
    END = 3


class FormModel:
    """Reads the field `model`. What is no form by RFC 7578, or has larger parts than anybody needs, is refused."""

    def __init__(self, boundary: str) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise BadBodyError(
                "The Content-Type must name a boundary of 1 to 70 printable characters.", code="invalid_content_type"
            )
        self._mark = b"\r\n--" + boundary.encode()
        # Note: as if the first boundary, too, came after a line.
        self._buffer = bytearray(b"\r\n")
        self._at = _At.BODY
        self._parts = 0
        self._value: bytearray | None = None
        """The field that is being read, if it is ours."""
        self._model: str | None = None

    def feed(self, piece: bytes) -> None:
        """The next bytes."""
        if self._at is _At.END:
            return
        self._buffer += piece
        while self._step():
            pass

    def model(self) -> str:
        """The name, when the body is over."""
        if self._at is not _At.END:
            raise _malformed("it ends before its last boundary" if self._parts else "its boundary is not in it")
        if self._model is None:
            raise missing()
        return self._model

    def _step(self) -> bool:
        """Take something from the buffer; False if more is needed."""
        match self._at:
            case _At.BODY:
                return self._body()
            case _At.BOUNDARY:
                return self._boundary()
            case _At.HEAD:
                return self._head()
            case _At.END:
                self._buffer.clear()
                return False

    def _body(self) -> bool:
        end = self._buffer.find(self._mark)
        # The last bytes may be the beginning of a boundary.
        upto = end if end >= 0 else max(0, len(self._buffer) - len(self._mark) + 1)
        if self._value is not None:
            self._value += self._buffer[: min(upto, LONGEST_RAW + 3)]
            if len(self._value) > LONGEST_RAW + 2:
                raise too_long()
        if end < 0:
            del self._buffer[:upto]
            return False
        del self._buffer[: end + len(self._mark)]
        if self._value is not None:
            # The end of its head's last line comes before it.
            self._model = checked(_text(bytes(self._value[2:])))
            self._value = None
        self._at = _At.BOUNDARY
        return True

    def _boundary(self) -> bool:
        if self._buffer.startswith(b"--"):
            self._at = _At.END
            return True
        line = self._buffer.find(b"\r\n")
        padding = bytes(self._buffer if line < 0 else self._buffer[:line])
        allowed = (b"", b"-", b"\r") if line < 0 else (b"",)
        if padding.lstrip(b" \t") not in allowed or len(padding) > LONGEST_PADDING:
            raise _malformed("its boundary is part of its content, or a line does not end with CR LF")
        if line < 0:
            return False
        # Note: the line's end stays, so that a part without headers has an empty head, too.
        del self._buffer[:line]
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise _malformed(f"it has more than {MOST_PARTS} parts")
        self._at = _At.HEAD
        return True

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n", 0, LONGEST_HEAD + 4)
        if end < 0:
            if len(self._buffer) >= LONGEST_HEAD + 4:
                raise _malformed(f"the headers of a part are larger than {LONGEST_HEAD} bytes")
            return False
        if _name_of(bytes(self._buffer[2:end])) == "model":
            if self._model is not None:
                raise twice()
            self._value = bytearray()
        # Note: the end of its last line stays: the boundary of a part without a body follows at once.
        del self._buffer[: end + 2]
        self._at = _At.BODY
        return True


def _name_of(head: bytes) -> str:
    """The field's name; empty if it has none."""
    name, encoded = "", False
    for line in re.sub(rb"\r\n[ \t]+", b" ", head).split(b"\r\n"):
        field, colon, value = line.partition(b":")
        field, value = field.strip().lower(), value.strip()
        if not colon and line:
            raise _malformed("a part has a header without a colon")
        if field == b"content-disposition":
            name = _disposition(value)
        elif field == _ENCODED:
            encoded = value.lower() not in _AS_IS
    if name == "model" and encoded:
        raise not_text("sent as it is, without Content-Transfer-Encoding")
    return name


def _disposition(value: bytes) -> str:
    plain = _PLAIN.fullmatch(value)
    if plain is not None:
        return plain[1].decode(errors="replace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, parameters = parse_content_disposition(value.decode(errors="surrogateescape"))
    return parameters.get("name", "")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise not_text("UTF-8 text") from None


def _malformed(why: str) -> BadBodyError:
    return BadBodyError(f"The body is not valid multipart/form-data: {why}.", code="invalid_multipart")
