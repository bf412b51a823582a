"""What measuring finds, apart from the native code that measures: only the measuring processes load that."""

from __future__ import annotations

from dataclasses import dataclass


class NotAudio(Exception):  # noqa: N818
    """The file cannot be read as audio; the text says why, fit for a client."""


@dataclass(frozen=True)
class Measured:
    """What a file holds."""

    audio_ms: int
    extension: str
    """A file name's ending that tells decoders the format, such as `wav`."""
