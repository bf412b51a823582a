"""The `insource` command: a table of subcommands, each imported only when it is called.

Every container of ours starts through here, so what one program does not need must not be imported for it.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from insource import __version__

COMMANDS = {
    "up": ("insource.cli.up:up", "Start everything on this machine."),
    "down": ("insource.cli.up:down", "Stop what `up` started."),
    "env": ("insource.cli.environment:env", "Print exports for your shell."),
    "status": ("insource.cli.status:status", "Show the ModelDeployments and whether they are ready."),
    "cost": ("insource.cli.cost:cost", "Show usage, cost and what was saved."),
    "catalog": ("insource.cli.catalog:catalog", "List the models, where they run, and what they take the place of."),
    "uninstall": ("insource.cli.uninstall:uninstall", "Stop all models before Insource is uninstalled."),
    "demo": ("insource.cli.demo.command:demo", "Show it all in a minute, with real speech."),
    "operator": ("insource.cli.programs:operator", "Run the operator."),
    "gateway": ("insource.cli.programs:gateway", "Run the gateway: its agent, or Envoy."),
    "adapter": ("insource.cli.programs:adapter", "Run an adapter; configured by its environment."),
    "ledger": ("insource.cli.programs:ledger", "Run the ledger."),
    "fetch": ("insource.cli.programs:fetch", "Download a model; the init container of a pod."),
    "server": ("insource.cli.programs:server", "Run a model server for CPUs."),
    "emulator": ("insource.cli.programs:emulator", "Run a vendor emulator."),
    "cluster": ("insource.cli.programs:cluster", "Run the embedded cluster."),
}
PROGRAMS = frozenset({"operator", "gateway", "adapter", "ledger", "server", "fetch", "emulator", "cluster"})


class LazyGroup(click.Group):
    """A group whose commands are looked up in `COMMANDS` when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        people = [(name, text) for name, (_, text) in COMMANDS.items() if name not in PROGRAMS]
        programs = [(name, text) for name, (_, text) in COMMANDS.items() if name in PROGRAMS]
        with formatter.section("Commands"):
            formatter.write_dl(people)
        with formatter.section("Programs (what containers run)"):
            formatter.write_dl(programs)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="insource")
def cli() -> None:
    """Insource takes commodity AI work back in-house: deploy, route, and see the cost."""


def main(argv: list[str] | None = None) -> Any:
    """Entry point of the `insource` script."""
    if os.environ.get("INSOURCE_DIE_WITH_PARENT"):
        from insource.cli.parenthood import die_with_parent

        die_with_parent(int(os.environ.pop("INSOURCE_DIE_WITH_PARENT")))
    if PROGRAMS.intersection((sys.argv[1:] if argv is None else argv)[:1]):
        _import_structlog_without_rich()
    return cli.main(args=argv, prog_name="insource")


def _import_structlog_without_rich() -> None:
    """structlog imports rich, if it is there, for tracebacks in colour: a third of a small program's start."""
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]


if __name__ == "__main__":
    main()
