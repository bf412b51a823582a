"""`insource cost`: what was served, what it cost, and what was saved, from the ledger's report."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from insource.cli.state import Layout, State, data_option
from insource.domain.pricing import QUOTED_PER
from insource.wire.vocabulary import Unit

TIMEOUT_S = 10.0
PLAIN_WIDTH = 160
"""When the output is no terminal: never wrapped, so that it can be cut by columns."""
LEAST_WIDTH = 118
NAME_WIDTH = 24
"""Names up to this long stay in one piece, so that they can be copied; where it is narrow the rest wraps."""
NONE = "-"
UNPRICED = "unpriced"
WORK, PER = 2, -1
"""Which of a row's cells."""


@click.command()
@click.option("--namespace", "-n", default="", help="Only this namespace.")
@click.option("--since", default="", help="From this moment or day (UTC) on, such as 2026-11-23.")
@click.option(
    "--by",
    type=click.Choice(["deployment", "backend", "role", "day"]),
    default="backend",
    show_default=True,
    help="One line for each.",
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON, for scripts.")
@data_option
def cost(namespace: str, since: str, by: str, as_json: bool, data: Path) -> None:
    """Show usage, cost and what was saved."""
    query = {"namespace": namespace, "since": since, "by": by}
    report = fetch_report(Layout(data).require_running(), {name: value for name, value in query.items() if value}, data)
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH, no_color=True)
    if not report["rows"]:
        where = f" in namespace {namespace}" if namespace else ""
        console.print(f"No usage{where} yet: send a request to the gateway (`insource env` prints its URL).")
        return
    print_cost(console, report)


def print_cost(console: Console, report: Mapping[str, Any]) -> None:
    """Print the table. Below `LEAST_WIDTH` its lines are longer than the console, which is easier to read than cells
    of half an amount."""
    table = render_cost(report)
    widest = Measurement.get(console, console.options.update(width=PLAIN_WIDTH), table).maximum
    if (least := min(widest, LEAST_WIDTH)) > console.width:
        table.width = least
    console.print(table, crop=False)


def fetch_report(state: State, query: Mapping[str, str], data: Path) -> dict[str, Any]:
    """The report from this installation's ledger; a ClickException says what is wrong and what to do."""
    try:
        token = Path(state.ledger_reader_token_file).read_text().strip()
    except OSError as error:
        raise click.ClickException(
            f"the ledger's reader token cannot be read ({error}): restart with `insource up --data {data}`"
        ) from None
    url = f"{state.ledger_url}/v1/cost?{urllib.parse.urlencode(query)}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            report: dict[str, Any] = json.load(answer)
            return report
    except urllib.error.HTTPError as error:
        with error:
            raise click.ClickException(f"the ledger refused: {_message(error)}") from None
    except (OSError, ValueError) as error:
        raise click.ClickException(
            f"the ledger at {state.ledger_url} does not answer ({error}): see {data / 'logs' / 'ledger.log'}"
        ) from None


def render_cost(report: Mapping[str, Any]) -> Table:
    """The report as a table: a line per group, then what the in-house work would have cost at vendors."""
    currency = report["currency"]
    table = Table(box=None, pad_edge=False, header_style="bold", caption=_caption(report), caption_justify="left")
    table.caption_style = ""
    names = [
        name
        for name in ("day", "namespace", "deployment", "backend", "role")
        if any(name in row for row in report["rows"])
    ]
    for name in names:
        whole = max(len(row[name]) for row in report["rows"]) <= NAME_WIDTH
        table.add_column(name.upper(), no_wrap=whole, overflow="ellipsis" if whole else "fold")
    audio = all(set(row["work"]) <= {Unit.AUDIO_MS} for row in report["rows"])
    for header in (
        "REQUESTS",
        "OUTCOMES",
        "AUDIO\n[s]" if audio else "WORK",
        f"BUSY\n[{currency}]",
        f"IDLE\n[{currency}]",
        f"VENDOR\n[{currency}]",
        f"PER AUDIO HOUR\n[{currency}]" if audio else f"PER\n[{currency}]",
    ):
        table.add_column(Text(header), justify="left" if header == "OUTCOMES" else "right", overflow="fold")
    for row in report["rows"]:
        table.add_row(*(Text(row[name]) for name in names), *_cells(row, audio=audio))
    if len(report["rows"]) > 1:
        table.add_section()
        cells = _cells(report["totals"], audio=audio)
        if len({frozenset(row["work"]) for row in report["rows"] if row["work"]}) > 1:
            # Money adds up; seconds, characters and images do not, and have no one price.
            cells[WORK] = cells[PER] = ""
        table.add_row("total", *("" for _ in names[1:]), *cells, style="bold")
    return table


def _cells(row: Mapping[str, Any], *, audio: bool) -> list[str]:
    in_house, vendor = row["in_house"], row["vendor"]
    unpriced_pods = float(in_house["unpriced_pod_seconds"]) > 0
    has_pods = unpriced_pods or _amount(in_house["busy"]) or _amount(in_house["idle"])
    has_vendor = _amount(vendor["cost"]) or any(counts["billed"] for counts in row["work"].values())
    vendor_cost = _money(vendor["cost"]) if has_vendor else NONE
    if row["unpriced"]:
        vendor_cost = f"{vendor_cost} + {row['unpriced']} {UNPRICED}" if has_vendor else f"{row['unpriced']} {UNPRICED}"
    return [
        str(row["requests"]),
        " ".join(f"{outcome} {count}" for outcome, count in row["attempts"].items()) or NONE,
        f"{float(row['audio_seconds']):,.1f}" if audio else work_done(row["work"]),
        UNPRICED if unpriced_pods else _money(in_house["busy"]) if has_pods else NONE,
        UNPRICED if unpriced_pods else _money(in_house["idle"]) if has_pods else NONE,
        vendor_cost,
        # A line of both kinds has no one price: adding them up would hide which is which.
        " / ".join(filter(None, (_per(side["per_unit"], audio=audio) for side in (in_house, vendor)))) or NONE,
    ]


def work_done(work: Mapping[str, Mapping[str, int]]) -> str:
    """Served work, in all units that it is counted in."""
    found = []
    for unit, counts in work.items():
        if not counts["measured"]:
            continue
        seconds = unit == Unit.AUDIO_MS
        one = counts["measured"] == 1
        name = unit.removesuffix("s") if one else unit
        found.append(f"{counts['measured'] / 1000:,.1f} s" if seconds else f"{counts['measured']:,} {name}")
    return ", ".join(found).replace("_", " ") or NONE


def _per(prices: Mapping[str, str], *, audio: bool) -> str:
    """What each unit has cost."""
    if audio:
        return _money(prices[Unit.AUDIO_MS]) if prices else ""
    return " + ".join(f"{_money(text)} / {QUOTED_PER[Unit(unit)][1]}" for unit, text in prices.items())


def _caption(report: Mapping[str, Any]) -> Text:
    lines = [line for comparison in report["comparisons"] for line in _comparison(comparison, report["currency"])]
    totals = report["totals"]
    if totals["unpriced"]:
        lines.append(f"unpriced charges: {totals['unpriced']} (in no sum; add their prices to a PriceBook)")
    if totals["unknown"]:
        lines.append(f"unknown attempts: {totals['unknown']} (no adapter recorded their end)")
    if totals["pending"]:
        lines.append(f"attempts that are not over yet: {totals['pending']}")
    return Text("\n" + "\n".join(lines) if lines else "")


def _comparison(comparison: Mapping[str, Any], currency: str) -> list[str]:
    name = f"{comparison['namespace']}/{comparison['deployment']}"
    spent = comparison["in_house_cost"]
    work = {unit: {"measured": quantity} for unit, quantity in comparison["in_house_work"].items()}
    if not any(comparison["in_house_work"].values()) and spent is not None and not _amount(spent):
        return []  # only bought: there is nothing to compare
    minutes = float(comparison["in_house_audio_seconds"]) / 60
    done = f"{minutes:,.1f} min of audio" if comparison["unit"] == Unit.AUDIO_MS else work_done(work)
    done = done if done != NONE else "nothing"
    head = f"{name}: {done} in-house for {UNPRICED if spent is None else _money(spent)} {currency}"
    lines = [head]
    seen = set()
    for kind in ("reference", "cheapest"):
        vendor = comparison[kind]
        if vendor is None or (vendor["vendor"], vendor["model"]) in seen:
            continue
        seen.add((vendor["vendor"], vendor["model"]))
        what = "the vendor in use" if kind == "reference" else "the cheapest in the book"
        lines += _against(vendor, what, currency, comparison["per"])
    if len(lines) == 1:
        lines.append("  no vendor price to compare with: add one to a PriceBook")
    return lines


def _against(vendor: Mapping[str, Any], what: str, currency: str, per: str) -> list[str]:
    name = f"{vendor['vendor']} {vendor['model']} ({what})"
    if vendor["counterfactual"] is None:
        return [f"  at {name}: {UNPRICED}"]
    lines = [f"  at {name}: {_money(vendor['counterfactual'])} {currency}"]
    saved = vendor["saved"]
    if saved is not None:
        lines[0] += f", extra cost {_money(saved[1:])}" if saved.startswith("-") else f", saved {_money(saved)}"
    if vendor["break_even_audio_hours_per_hour"] is not None:
        hours = float(vendor["break_even_audio_hours_per_hour"])
        lines.append(f"    breaks even at {hours:.2f} h of audio per replica hour")
    elif vendor["break_even_per_hour"] is not None:
        lines.append(f"    breaks even at {float(vendor['break_even_per_hour']):,.2f} x {per} per replica hour")
    return lines


def _amount(text: str | None) -> bool:
    return text is not None and float(text) != 0


def _money(text: str) -> str:
    """Six decimals, for an hour of speech costs cents; more exact amounts are in the JSON."""
    return f"{float(text):,.6f}"


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"
