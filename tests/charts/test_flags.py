"""What the chart's containers are told is what the programs understand."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from insource.cli.main import cli
from tests.charts.helm import VALUES, containers, objects, rendered

SETS = sorted(path.stem for path in VALUES.glob("*.yaml"))


def commands(values: str, home: Path) -> dict[str, list[str]]:
    """What each container of ours runs, its hooks, too: title -> arguments of `insource`."""
    flags = ("--values", VALUES / f"{values}.yaml") if values else ()
    found = {}
    for obj in objects(rendered(home, *flags)):
        for container in containers(obj) if obj["kind"] == "Deployment" else ():
            # What only a pod knows.
            found[container["name"]] = [word.replace("$(MEMORY_LIMIT)", "2147483648") for word in container["args"]]
            hook = container.get("lifecycle", {}).get("preStop")
            if hook:
                program, *arguments = hook["exec"]["command"]
                assert program == "insource"
                found[f"{container['name']} preStop"] = arguments
    return found


def parse(arguments: list[str]) -> None:
    """As the program would; runs nothing. Raises click.ClickException."""
    command: click.Command = cli
    name = "insource"
    with click.Context(command, info_name=name) as context:
        rest = list(arguments)
        while isinstance(command, click.Group):
            name, found, rest = command.resolve_command(context, rest)
            assert found is not None
            command = found
        command.make_context(name or "", rest, parent=context)


@pytest.mark.parametrize("values", ["", *SETS])
def test_every_program_understands_its_arguments(values: str, tmp_path: Path) -> None:
    found = commands(values, tmp_path)
    assert set(found) == {"operator", "agent", "envoy", "envoy preStop", "ledger"}
    for title, arguments in found.items():
        try:
            parse(arguments)
        except click.ClickException as error:
            pytest.fail(f"{title}: {error.format_message()}")
