"""A scenario: commands in order, in a namespace and a folder of their own, read from a YAML file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
FOLDER = HERE / "scenarios"
FIELDS = {"run", "stdin", "editor", "env", "after_lines", "until_lines", "meanwhile"}


@dataclass(frozen=True)
class Act:
    """What the test itself does by the API, where a real cluster has a kubelet, or where a server needs a moment."""

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """One command line of kubectl or helm.

    With `meanwhile` it runs beside others, which start once it has printed `after_lines` lines; with `until_lines` it
    is stopped once it has printed that many.
    """

    line: str
    stdin: str = ""
    editor: str = ""
    """A sed script: what a person does in `kubectl edit`."""
    env: Mapping[str, str] = field(default_factory=dict)
    after_lines: int = 0
    until_lines: int = 0
    meanwhile: tuple[Step, ...] = ()


Step = Command | Act


@dataclass(frozen=True)
class Scenario:
    """`name` is also the namespace's, behind `commands-`."""

    name: str
    about: str
    steps: tuple[Step, ...]

    @property
    def namespace(self) -> str:
        return f"commands-{self.name}"

    def commands(self) -> Iterator[Command]:
        """In the order in which they start."""
        return _commands(self.steps)

    def cases(self) -> list[str]:
        """A name for each command, unique in all scenarios."""
        return [f"{self.name} {number}: {each.line}" for number, each in enumerate(self.commands(), 1)]


def _commands(steps: tuple[Step, ...]) -> Iterator[Command]:
    for step in steps:
        if isinstance(step, Command):
            yield step
            yield from _commands(step.meanwhile)


def scenarios() -> dict[str, Scenario]:
    """All of them, by name."""
    return {path.stem: _scenario(path) for path in sorted(FOLDER.glob("*.yaml"))}


def _scenario(path: Path) -> Scenario:
    said = yaml.safe_load(path.read_text())
    return Scenario(path.stem, said["about"], tuple(_step(each, path) for each in said["steps"]))


def _step(said: Any, path: Path) -> Step:
    if isinstance(said, str):
        return Command(said)
    if set(said) == {"act"}:
        name, *arguments = said["act"].split()
        return Act(name, tuple(arguments))
    assert set(said) <= FIELDS, f"{path.name}: {sorted(set(said) - FIELDS)} in {said}"
    rest = {name: value for name, value in said.items() if name not in ("run", "meanwhile")}
    return Command(said["run"], **rest, meanwhile=tuple(_step(each, path) for each in said.get("meanwhile", ())))
