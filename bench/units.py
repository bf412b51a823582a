"""Units of mixed requests, some of whose clients leave: client, gateway, adapter, ledger and the vendor's bill beside
each other.

`python -m bench.units [--requests N] [--at-once N]`. Real Envoy, agent, vendor adapter and ledger before the emulated
OpenAI with its fast engines. What a request consumes is reckoned from the request. It fails if anything is not equal
and has no name; nothing is asserted on time.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.gateway.units_account import Account, account, books_of
from tests.gateway.units_world import World, plan, play, world

from bench.report import Figure, show, write

LEFT_SHARE = 0.1
SEED = 20261129
PROGRESS_EVERY_S = 2.0


async def run(requests: int, at_once: int, folder: Path) -> tuple[Account, float]:
    """What came of it, and how many seconds the requests took."""
    async with world(folder) as here:
        began = time.monotonic()
        showing = asyncio.create_task(_progress(here, round(requests * (1 - LEFT_SHARE)), began))
        await play(here, plan(requests, LEFT_SHARE, SEED), at_once)
        took_s = time.monotonic() - began
        showing.cancel()
        print(f"\r{requests:,} requests in {took_s:.0f} s; waiting for the books", file=sys.stderr)
        await here.settled()
        books = await books_of(here.store, (await here.meter())["lines"])
        return account(books, here.sent, here.answered, here.adapter_units()), took_s


async def _progress(here: World, staying: int, began: float) -> None:
    """Those whose clients leave come beside these and, for the greater part, after them."""
    while True:
        passed_s = time.monotonic() - began
        print(
            f"\r{len(here.answered):,} of {staying:,} answered, {passed_s:.0f} s", end="", file=sys.stderr, flush=True
        )
        await asyncio.sleep(PROGRESS_EVERY_S)


def figures_of(found: Account) -> list[Figure]:
    """The table: each count with the one that it must be equal to."""
    figures = [Figure("requests sent", found.attempts["requests sent"], "attempts")]
    known = found.attempts["gateway"]
    figures.append(Figure("the gateway knows", known, "attempts", f"= {found.attempts['requests sent']}"))
    figures.append(Figure("the ledger has from the adapter", found.attempts["adapter, in the ledger"], "attempts"))
    figures.append(Figure("on the vendor's bill", found.attempts["of them on the vendor's bill"], "attempts"))
    figures += [Figure(f"of the {fate}", count, "attempts") for fate, count in sorted(found.left.items()) if count]
    for row in found.rows:
        peer = "" if row.bill is None else "the vendor's bill"
        name = f"{row.unit}, {row.source}, answered requests: ledger; target: expected"
        figures.append(Figure(name, row.ledger, row.unit, f"= {row.expected}", peer, row.bill))
    for fate, (ours, theirs) in sorted(found.nano.items()):
        target = f"= {theirs}" if fate == "answered" else ""
        figures.append(Figure(f"charged, {fate}", ours, "nano-USD", target, "the vendor's bill", theirs))
    figures.append(Figure("not equal, and without a name", len(found.wrong), "attempts and sums", "= 0"))
    return figures


def main() -> None:
    """Print the table and write bench/out/units.json."""
    parser = argparse.ArgumentParser(prog="python -m bench.units", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=24, help="requests at any moment (default 24)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="isu") as folder:
        found, took_s = asyncio.run(run(arguments.requests, arguments.at_once, Path(folder)))
    figures = figures_of(found)
    figures.append(Figure("requests per second, all in one process but Envoy", arguments.requests / took_s, "1/s"))
    figures.append(Figure("all of them took", round(took_s, 1), "s"))
    show("units", figures)
    if found.wrong:
        raise SystemExit("\n".join(found.wrong[:50]))
    print(write("units", figures))


if __name__ == "__main__":
    main()
