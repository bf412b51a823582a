"""What a request's body says is its `model`, read piece by piece as it comes. No I/O, and no more kept than the name.

Each reader is fed every piece, and at the end asked for the `model`. It looks no further than it must: whether the rest
of the body makes sense is for the adapter to say.
"""

from __future__ import annotations

from typing import Protocol

LONGEST_MODEL = 253
LONGEST_RAW = 8 * LONGEST_MODEL
"""Bytes of a name as it is written: with every character escaped, and its quotes."""


class BadBodyError(ValueError):
    """The body cannot be understood; the message is for the client."""

    def __init__(self, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class ModelReader(Protocol):
    """Reads one body. Both methods raise BadBodyError."""

    def feed(self, piece: bytes) -> None:
        """The next bytes."""
        ...

    def model(self) -> str:
        """There are no more bytes: the name, not empty."""
        ...


def missing() -> BadBodyError:
    """No `model`."""
    return BadBodyError("You must provide a model parameter.", code="missing_required_parameter", param="model")


def twice() -> BadBodyError:
    """Which of them would be meant?"""
    return BadBodyError("The model parameter is given more than once.", code="duplicate_parameter", param="model")


def not_text(what: str) -> BadBodyError:
    """It is there, and no name."""
    return BadBodyError(f"The model parameter must be {what}.", code="invalid_type", param="model")


def too_long() -> BadBodyError:
    """No model has such a name."""
    return BadBodyError(
        f"The model parameter must have at most {LONGEST_MODEL} characters.", code="string_too_long", param="model"
    )


def checked(name: str) -> str:
    """The name, if it can be one."""
    if not name:
        raise missing()
    if len(name) > LONGEST_MODEL:
        raise too_long()
    return name
