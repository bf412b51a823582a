"""Every target by its name, which is also its folder of `corpus`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.fuzz import forms, ssml

TARGETS: Mapping[str, Callable[[bytes], None]] = {**forms.TARGETS, **ssml.TARGETS}
CORPUS = Path(__file__).resolve().parent / "corpus"


def inputs(name: str) -> list[bytes]:
    """What is kept for this target, by file name."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
