"""`python -m tests.node up | down [--images] | status | test`: a Kubernetes node on this machine."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tests.node import cluster, machine
from tests.node.places import NodeError


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 1 with the reason and the next step on stderr if it did not work."""
    parser = argparse.ArgumentParser(prog="python -m tests.node", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start it; prints how to use it")
    down = commands.add_parser("down", help="stop it and undo what it changed of the machine")
    down.add_argument("--images", action="store_true", help="delete the images and logs, too")
    commands.add_parser("status", help="what runs")
    test = commands.add_parser("test", help="up, the tests marked `node`, down")
    test.add_argument("pytest", nargs="*")
    given = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        if given.command == "up":
            return _up(console)
        if given.command == "down":
            cluster.choose(console).down(images=given.images)
            return 0
        if given.command == "status":
            return cluster.status()
        return _test(console, given.pytest)
    except NodeError as error:
        console.print(f"insource: {error}", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("insource: interrupted; `make cluster-down` undoes what was begun")
        return 130


def _up(console: Console) -> int:
    if reason := _not_here():
        console.print(f"node layer not run: {reason}", markup=False)
        return 0
    began = time.monotonic()
    chosen = cluster.choose(console)
    chosen.up()
    console.print(f"insource: the node is Ready after {time.monotonic() - began:.1f} s")
    print(f"export KUBECONFIG={chosen.kubeconfig}")
    return 0


def _not_here() -> str:
    """A cluster of the user's or Docker's needs nothing of this kernel."""
    return machine.why_not() if cluster.kind_of_cluster() == "host" else ""


def _test(console: Console, more: Sequence[str]) -> int:
    if reason := _not_here():
        console.print(f"node layer not run: {reason}", markup=False)
        return 0
    chosen = cluster.choose(console)
    chosen.up()
    try:
        chosen.images()
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-m", "node", *(more or ["tests/node"])]
        return subprocess.run(words, cwd=Path(__file__).parents[2], check=False).returncode
    finally:
        chosen.down()


if __name__ == "__main__":
    sys.exit(main())
