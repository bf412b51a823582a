"""`insource catalog`: the models of the cluster's catalogue, and what they take the place of at which price."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table
from rich.text import Text

from insource.cli.catalog_entries import (
    Catalogue,
    Entry,
    Offer,
    Place,
    Price,
    as_json,
    break_even,
    nearest,
    read_catalogue,
)
from insource.cli.state import Layout, data_option
from insource.domain.pricing import amount_of
from insource.env import system_env
from insource.kube.client import ApiError, connect
from insource.kube.resources import (
    ACCELERATOR_CLASSES,
    CATALOG_MODELS,
    INFERENCE_RUNTIMES,
    PRICE_BOOKS,
)
from insource.wire.vocabulary import Modality

KINDS = (CATALOG_MODELS, INFERENCE_RUNTIMES, ACCELERATOR_CLASSES, PRICE_BOOKS)
PAGE = 500
PLAIN_WIDTH = 1000
"""When the output is no terminal: never wrapped, so that it can be cut by columns."""
NONE = "-"
UNPRICED = "unpriced"
STYLES = {"Available": "green", "Preview": "yellow", "Deprecated": "red", "Retired": "red"}


def _connection(command: Any) -> Any:
    options = (
        click.option("--json", "as_data", is_flag=True, help="For scripts; amounts are decimal text."),
        click.option("--kubeconfig", help="Default: $KUBECONFIG, else a local installation's, else your own."),
        click.option("--context", help="Of the kubeconfig. Default: its current one."),
        data_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group(invoke_without_command=True)
@click.option(
    "--modality",
    type=click.Choice([str(item) for item in Modality], case_sensitive=False),
    help="Only models of this kind.",
)
@_connection
@click.pass_context
def catalog(
    ctx: click.Context, modality: str | None, as_data: bool, kubeconfig: str | None, context: str | None, data: Path
) -> None:
    """List the models of the catalogue, or show one of them."""
    if ctx.invoked_subcommand is not None:
        given = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if given:
            raise click.UsageError(f"options go behind: insource catalog {ctx.invoked_subcommand} MODEL --option")
        return
    found = _read(kubeconfig, context, data)
    entries = [entry for entry in found.entries if modality is None or str(entry.modality) == modality]
    _tell_problems(found)
    if as_data:
        click.echo(json.dumps([as_json(entry) for entry in entries], indent=2))
        return
    if not entries:
        what = f"no CatalogModel of modality {modality}" if modality else "no CatalogModel yet"
        click.echo(f"{what}: the operator applies the built-in ones when it starts")
        return
    console = _console()
    console.print(render_list(entries, found.currency))
    console.print(Text("\n" + "\n".join(_notes(entries)), style="dim"))


@catalog.command()
@click.argument("name")
@_connection
def show(name: str, as_data: bool, kubeconfig: str | None, context: str | None, data: Path) -> None:
    """Show all that the catalogue says of one model."""
    found = _read(kubeconfig, context, data)
    entry = next((item for item in found.entries if item.name == name), None)
    if entry is None:
        alike = nearest(name, [item.name for item in found.entries])
        meant = f"did you mean {' or '.join(alike)}?" if alike else "`insource catalog` lists them all"
        raise click.ClickException(f'there is no CatalogModel "{name}": {meant}')
    _tell_problems(found)
    if as_data:
        click.echo(json.dumps(as_json(entry), indent=2))
        return
    console = _console()
    for part in render_entry(entry, found.currency):
        console.print(part)


def _read(kubeconfig: str | None, context: str | None, data: Path) -> Catalogue:
    try:
        objects = asyncio.run(_objects(kubeconfig or _local(data), context))
    except ApiError as error:
        if error.status == 403:
            raise click.ClickException(
                f"you may not read the catalogue ({error.message}): ask for get and list on "
                f"{', '.join(kind.plural for kind in KINDS)} of insource.dev"
            ) from None
        if error.status == 404:
            raise click.ClickException(
                "this cluster has no catalogue: is Insource installed there? (docs/install.md; `insource up` here)"
            ) from None
        raise click.ClickException(
            f"the API server does not answer ({error}): name a cluster by --kubeconfig, or start one by `insource up`"
        ) from None
    return read_catalogue(objects, system_env().clock.now())


def _local(data: Path) -> str | None:
    """The kubeconfig of the installation on this machine, unless the environment names a cluster."""
    layout = Layout(data)
    if {"KUBECONFIG", "KUBERNETES_SERVICE_HOST"} & os.environ.keys() or layout.running_state() is None:
        return None
    return str(layout.kubeconfig)


async def _objects(kubeconfig: str | None, context: str | None) -> list[dict[str, Any]]:
    found = []
    async with await connect(kubeconfig, system_env(), context=context) as client:
        for kind in KINDS:
            token = ""
            while True:
                page = await client.list(kind, limit=PAGE, continue_token=token)
                # A list's items carry no kind.
                found += [{**item, "kind": kind.kind} for item in page.items]
                token = page.continue_token
                if not token:
                    break
    return found


def render_list(entries: Sequence[Entry], currency: str) -> Table:
    """A line for each model."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("MODALITY", "MODEL", "PUBLISHER", "LICENCE", "STAGE", "RUNS ON", f"VENDOR PRICE [{currency}]"):
        table.add_column(Text(header), no_wrap=header in ("MODALITY", "MODEL", "STAGE"), overflow="fold")
    table.add_column("SUBSTITUTES", overflow="fold")
    for entry in entries:
        table.add_row(
            str(entry.modality) if entry.served else f"{entry.modality} *",
            Text(entry.name),
            Text(entry.publisher),
            Text(entry.licence),
            Text(entry.stage, style=STYLES[entry.stage]),
            Text(runs_on(entry)),
            Text(price_range(entry.offers)),
            Text(", ".join(f"{offer.vendor}/{offer.model}" for offer in entry.offers) or NONE),
        )
    return table


def render_entry(entry: Entry, currency: str) -> list[Table | Text]:
    """All of one model: its facts, where it can run, what it takes the place of."""
    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    stage = entry.stage + (f", successor {entry.successor}" if entry.successor else "")
    for label, text, style in (
        ("model", entry.name, ""),
        ("modality", str(entry.modality) + ("" if entry.served else ", not served by this release"), ""),
        ("publisher", entry.publisher or NONE, ""),
        ("version", entry.version or NONE, ""),
        ("licence", entry.licence or NONE, ""),
        ("stage", stage, STYLES[entry.stage]),
        ("memory", f"{entry.memory_gib} GiB of accelerator memory" if entry.memory_gib else "not known", ""),
    ):
        facts.add_row(label, Text(text, style=style))
    for source in entry.sources:
        where = source.uri + (f" @ {source.revision}" if source.revision else "")
        facts.add_row("source", Text(f"{source.runtime}: {where}"))
    parts: list[Table | Text] = [facts, Text("")]
    if not entry.sources:
        parts.append(Text("No source: its weights are not public. Add one to the CatalogModel, with your own image."))
    if entry.places:
        parts += [_places(entry, currency), Text("")]
    if entry.offers:
        parts.append(_offers(entry, currency))
    else:
        parts.append(Text("No vendor's model is known that it takes the place of."))
    return parts


def _places(entry: Entry, currency: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("RUNS ON", "RUNTIME"):
        table.add_column(header)
    table.add_column(Text(f"REPLICA HOUR [{currency}]"), justify="right")
    for place in entry.places:
        table.add_row(Text(place.class_), Text(place.runtime), amount_of(place.hour_nano))
    return table


def _offers(entry: Entry, currency: str) -> Table:
    cheapest = min(entry.places, key=lambda place: place.hour_nano, default=None)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("SUBSTITUTES", no_wrap=True)
    table.add_column(Text(f"PRICE [{currency}]"))
    if cheapest is not None:
        table.add_column(Text(f"BREAKS EVEN ON {cheapest.class_} AT"))
    table.add_column("SHUTS DOWN")
    table.add_column("SOURCE OF THE PRICE", overflow="fold")
    for offer in entry.offers:
        even = [] if cheapest is None else [Text(_even(cheapest, offer))]
        day = Text(offer.shutdown_on or NONE, style="red" if offer.shutdown_on else "")
        sources = "; ".join(dict.fromkeys(price.source for price in offer.prices))
        name = Text(f"{offer.vendor}/{offer.model}", style="dim" if offer.gone else "")
        table.add_row(name, Text(_prices(offer)), *even, day, Text(sources or NONE))
    return table


def _even(place: Place, offer: Offer) -> str:
    """Where a vendor bills by two units, no one number of either says it."""
    if len(offer.prices) != 1:
        return NONE
    units = break_even(place, offer.prices[0])
    if units is None:
        return NONE
    per = offer.prices[0].per
    return f"{units:,.2f} x {per}/h" if per.startswith("1M") else f"{units:,.2f} {per}s/h"


def _prices(offer: Offer) -> str:
    return " + ".join(f"{amount_of(price.nano)} / {price.per}" for price in offer.prices) or UNPRICED


def price_range(offers: Sequence[Offer]) -> str:
    """From the cheapest to the dearest vendor, for each unit."""
    by_unit: dict[str, list[Price]] = {}
    for offer in offers:
        for price in offer.prices:
            by_unit.setdefault(price.per, []).append(price)
    told = []
    for per, prices in by_unit.items():
        low, high = min(price.nano for price in prices), max(price.nano for price in prices)
        span = amount_of(low) if low == high else f"{amount_of(low)} - {amount_of(high)}"
        told.append(f"{span} / {per}")
    return " + ".join(told) or (UNPRICED if offers else NONE)


def runs_on(entry: Entry) -> str:
    """The classes where it fits, in words."""
    if not entry.sources:
        return "own weights and image"
    places = dict.fromkeys(place.class_ for place in entry.places)
    return ", ".join(places) or f"by {', '.join(dict.fromkeys(source.runtime for source in entry.sources))}"


def _notes(entries: Sequence[Entry]) -> list[str]:
    notes = ["Prices: today's in the PriceBooks; `insource catalog show MODEL` has each with its source."]
    if not all(entry.served for entry in entries):
        notes.append("* this release does not serve the modality: a ModelDeployment of it says so and starts nothing.")
    return notes


def _tell_problems(found: Catalogue) -> None:
    for problem in found.problems:
        click.echo(f"left out: {problem}", err=True)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH, no_color=True)
