"""What was measured on the way: figures are told at the end of the run, and no test judges them."""

from __future__ import annotations

NOTED: list[str] = []


def note(text: str) -> None:
    NOTED.append(text)
