"""The command: plays the steps in order, writes `demo.json`, and stops everything, whatever happened."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from insource.cli.demo.cost import cost
from insource.cli.demo.deploy import deploy
from insource.cli.demo.failover import failover
from insource.cli.demo.image import image
from insource.cli.demo.scene import (
    CODE,
    IMAGE,
    IMAGE_MAI,
    RETRIEVAL,
    SPEECH,
    SPEECH_MAI,
    TRANSCRIPTION,
    TRANSCRIPTION_MAI,
    DemoFailure,
    Example,
    Scene,
)
from insource.cli.demo.speech import speech
from insource.cli.demo.text import retrieval, text
from insource.cli.demo.transcribe import transcribe
from insource.cli.demo.vendors import vendors
from insource.cli.state import Layout, data_option, replace_file
from insource.env import system_env

PLAIN_WIDTH = 118
"""Columns where there is no terminal to ask, so that no table is broken."""
Step = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Part:
    """What one name of `--step` shows, and the examples that it needs."""

    steps: tuple[Step, ...]
    examples: tuple[Example, ...]


MAI = (TRANSCRIPTION_MAI, SPEECH_MAI, IMAGE_MAI)
STEPS = {
    "transcribe": Part((transcribe,), (TRANSCRIPTION,)),
    "speech": Part((speech,), (TRANSCRIPTION, SPEECH)),
    "image": Part((image,), (IMAGE,)),
    "text": Part((text,), (CODE,)),
    "retrieval": Part((retrieval,), (RETRIEVAL,)),
    "vendors": Part((vendors,), MAI),
    "failover": Part((failover,), (TRANSCRIPTION,)),
    "cost": Part((transcribe, cost), (TRANSCRIPTION,)),
}
ALL = Part(
    (transcribe, speech, image, text, retrieval, vendors, failover, cost),
    (TRANSCRIPTION, SPEECH, IMAGE, CODE, RETRIEVAL, *MAI),
)


@click.command()
@click.option("--step", type=click.Choice(list(STEPS)), help="Show this part only (what it needs comes up first).")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Also save what you see as a picture.")
@data_option
def demo(step: str | None, svg: Path | None, data: Path) -> None:
    """Serve transcription, speech, pictures, text and retrieval in-house and by vendors, break it, see it heal, and
    what it cost."""
    console = Console(record=svg is not None)
    if svg is not None or not console.is_terminal:
        console = Console(record=svg is not None, width=PLAIN_WIDTH)
    scene = Scene(console=console, layout=Layout(data), clock=system_env().clock)
    if scene.layout.running_state() is not None:
        raise click.ClickException(
            f"an installation is running in {scene.layout.data}: stop it with `insource down --data {data}`, "
            "or give the demo another --data"
        )
    started = scene.clock.monotonic()
    failure: DemoFailure | None = None
    with installation(scene):
        try:
            asyncio.run(play(scene, STEPS[step] if step else ALL))
        except DemoFailure as error:
            failure = error
    took_s = scene.clock.monotonic() - started
    scene.seen["took_s"] = round(took_s, 1)
    scene.seen["ok"] = failure is None
    replace_file(scene.layout.data / "demo.json", json.dumps(scene.seen, indent=1), mode=0o644)
    if failure is not None:
        raise failure
    scene.say(f"\n[green]Done[/green] in {took_s:.0f} s; everything is stopped. The same as data: {data}/demo.json")
    if svg is not None:
        console.save_svg(str(svg), title="make demo")


async def play(scene: Scene, part: Part) -> None:
    """Deploy the examples, then the steps."""
    await deploy(scene, part.examples)
    for step in part.steps:
        await step(scene)


@contextmanager
def installation(scene: Scene) -> Iterator[None]:
    """`insource up --detach` before, `insource down` after, also on Ctrl-C."""
    environment = {**os.environ, "INSOURCE_DATA": str(scene.layout.data)}
    base = [sys.executable, "-m", "insource"]
    scene.say("[bold]insource up[/bold]: embedded cluster, operator, gateway, ledger, emulated vendors")
    try:
        subprocess.run([*base, "up", "--detach"], env=environment, check=True)
        yield
    except subprocess.CalledProcessError as error:
        raise DemoFailure(f"`insource up` ended with {error.returncode}; logs: {scene.layout.logs}") from None
    finally:
        subprocess.run([*base, "down"], env=environment, check=False, stdout=subprocess.DEVNULL)
