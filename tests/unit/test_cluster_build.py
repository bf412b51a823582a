"""The build of the control plane: what it runs ends with it, and a failure is told in the compiler's last words."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from rich.console import Console

from tests.cluster import binaries
from tests.cluster.binaries import KWOK, BuildError


def compiler(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """In the place of Go."""
    monkeypatch.setattr(binaries, "_ask", lambda *_: ["one"])
    monkeypatch.setattr(binaries, "_go", lambda *_: ["sh", "-c", script])


def test_it_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler(monkeypatch, "echo a/package >&2")
    binaries._build(KWOK, tmp_path, Console(quiet=True))
    gc.collect()  # a pipe that is still open is told now, and a warning is an error


def test_a_failure_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler(monkeypatch, "echo no such package >&2; exit 1")
    with pytest.raises(BuildError, match="no such package"):
        binaries._build(KWOK, tmp_path, Console(quiet=True))
