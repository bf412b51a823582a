"""`python -m tests.node preflight | prepare | up | images | down [--images] | status | test | reproducible`.

A Kubernetes node on this machine. Exit status: 0, 1 with the reason and the next step, 77 if this machine cannot be a
node.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tests.node import cluster, preflight, reproducible
from tests.node.places import NodeError, Places


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0; 1 if it did not work, 77 if this machine cannot be a node: the reason is on stderr."""
    parser = argparse.ArgumentParser(prog="python -m tests.node", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("preflight", help="try out whether this machine can be a node, and leave it as it was")
    commands.add_parser("prepare", help="build what `test` needs, programs and images, and start nothing")
    commands.add_parser("up", help="start it; prints how to use it")
    commands.add_parser("images", help="build the product's images and bring them to it; prints how to use them")
    down = commands.add_parser("down", help="stop it and undo what it changed of the machine")
    down.add_argument("--images", action="store_true", help="delete the images and logs, too")
    commands.add_parser("status", help="what runs")
    test = commands.add_parser("test", help="up, the tests marked `node`, down")
    test.add_argument("pytest", nargs="*")
    commands.add_parser("reproducible", help="build the images twice, from nothing, and compare their bits")
    given, more = parser.parse_known_args(arguments)
    if more and given.command != "test":
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        match given.command:
            case "preflight":
                return _preflight(console)
            case "prepare":
                cluster.choose(console).prepare()
                return 0
            case "up":
                return _up(console)
            case "images":
                return _images(console)
            case "down":
                cluster.choose(console).down(images=given.images)
                return 0
            case "status":
                return cluster.status()
            case "reproducible":
                return reproducible.main(console)
            case _:
                return _test(console, [*given.pytest, *more])
    except NodeError as error:
        console.print(f"insource: {error}", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("insource: interrupted; `make cluster-down` undoes what was begun")
        return 130


def _preflight(console: Console) -> int:
    """Says so loudly: a layer that was not run must not look like one that passed."""
    if cluster.kind_of_cluster() != "host":
        # A cluster of the user's or Docker's needs nothing of this kernel.
        return 0
    if reason := preflight.why_not(Places(), console):
        console.print(f"NODE LAYER NOT RUN: this machine cannot be a node, because {reason}", markup=False)
        return preflight.CANNOT
    return 0


def _up(console: Console) -> int:
    chosen = cluster.choose(console)
    if not chosen.is_up() and (status := _preflight(console)):
        return status
    began = time.monotonic()
    chosen.up()
    console.print(f"insource: the node is Ready after {time.monotonic() - began:.1f} s")
    print(f"export KUBECONFIG={chosen.kubeconfig}")
    return 0


def _images(console: Console) -> int:
    chosen = cluster.choose(console)
    if not chosen.is_up():
        raise NodeError("no node runs on this machine: `make cluster-up`")
    images = chosen.images()
    release = cluster.release_tag()
    chosen.tag(images, release)
    print(f"export {cluster.GIVEN_IMAGES}={images.registry}:{release}")
    return 0


def _test(console: Console, more: Sequence[str]) -> int:
    if status := _preflight(console):
        return status
    chosen = cluster.choose(console)
    was_there = chosen.is_up()
    chosen.up()
    try:
        chosen.images()
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-m", "node", *(more or ["tests/node"])]
        return subprocess.run(words, cwd=Path(__file__).parents[2], check=False).returncode
    finally:
        if not was_there:
            chosen.down()


if __name__ == "__main__":
    sys.exit(main())
