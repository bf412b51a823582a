"""A data directory of a newer program is refused, and nothing in it is touched."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from insource.cli.state import Layout
from insource.cli.up import up


def test_a_new_directory_says_its_version(tmp_path: Path) -> None:
    Layout(tmp_path / "data").make()
    assert (tmp_path / "data" / "version").read_text() == "1\n"
    Layout(tmp_path / "data").make()


def test_a_directory_from_before_versions_is_taken(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("{}")
    Layout(tmp_path).make()
    assert (tmp_path / "version").read_text() == "1\n"


@pytest.mark.parametrize(("version", "said"), [("2", "newer insource"), ("old", "not a version")])
@pytest.mark.parametrize("flags", [[], ["--detach"]])
def test_another_version_is_refused_untouched(tmp_path: Path, version: str, said: str, flags: list[str]) -> None:
    (tmp_path / "version").write_text(f"{version}\n")
    done = CliRunner().invoke(up, ["--data", str(tmp_path), *flags])
    assert done.exit_code == 1
    assert said in done.output
    assert str(tmp_path) in done.output
    assert "another --data" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["version"]
    with pytest.raises(click.ClickException):
        Layout(tmp_path).make()
