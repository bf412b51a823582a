"""The images' bits depend on what they are made of, and on nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from tests.node.images import ROOT, inputs
from tests.node.node import Node
from tests.node.reproducible import copied, twice


def test_the_second_build_is_given_another_checkout(tmp_path: Path) -> None:
    """Else it would prove nothing."""
    other = copied(ROOT, tmp_path / "checkout")
    for path in inputs(ROOT):
        copy = other / path.relative_to(ROOT)
        assert copy.read_bytes() == path.read_bytes()
        assert copy.stat().st_mtime != path.stat().st_mtime
        assert copy.stat().st_mode & 0o777 == 0o600


@pytest.mark.node
@pytest.mark.timeout(1800)
def test_a_second_build_from_nothing_has_the_same_bits(node: Node) -> None:
    del node
    found = twice(Console(stderr=True))
    assert {target: one == other for target, (one, other) in found.items()} == dict.fromkeys(found, True), found
