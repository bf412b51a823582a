"""`python -m tests.catalogue_document` writes the tables of docs/catalogue.md from the objects that ship."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from insource.api.catalogue import builtin_objects
from insource.cli.catalog import price_range, runs_on
from insource.cli.catalog_entries import Entry, read_catalogue

DOCUMENT = Path(__file__).parents[1] / "docs" / "catalogue.md"
DAY = datetime(2026, 11, 29, 18, 0, tzinfo=UTC)
"""Of the prices in the document."""


def written(text: str) -> str:
    """The document with its tables as they should be."""
    for name, lines in (("models", models()), ("runtimes", runtimes())):
        table = "\n".join(lines)
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        assert begin in text, f"{DOCUMENT}: the mark {begin} is missing"
        text = re.sub(f"{begin}.*?{end}", lambda _, all_=f"{begin}\n{table}\n{end}": all_, text, flags=re.DOTALL)
    return text


def models() -> list[str]:
    """A row for each model."""
    lines = [
        "| modality | model | publisher | licence | stage | can run on | takes the place of | at a vendor's price of |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in read_catalogue(builtin_objects(), DAY).entries:
        cells = (
            str(entry.modality),
            f"`{entry.name}`",
            entry.publisher,
            entry.licence,
            entry.stage,
            runs_on(entry),
            _offers(entry),
            price_range(entry.offers),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def runtimes() -> list[str]:
    """A row for each runtime."""
    lines = [
        "| runtime | serves | image | port | health | slots | starts within | weights |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for obj in builtin_objects("insource/servers"):
        if obj["kind"] != "InferenceRuntime":
            continue
        spec = obj["spec"]
        images = [spec["image"], *dict.fromkeys(spec.get("acceleratorImages", {}).values())]
        cells = (
            f"`{obj['metadata']['name']}`",
            ", ".join(spec["modalities"]),
            ", ".join(f"`{image}`" for image in images),
            str(spec["port"]),
            f"`{spec['healthPath']}`",
            str(spec["slots"]),
            spec["startupBudget"],
            spec.get("modelDelivery", "Preloaded"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _offers(entry: Entry) -> str:
    told = (
        f"{offer.vendor}/{offer.model}" + (f" (until {offer.shutdown_on})" if offer.shutdown_on else "")
        for offer in entry.offers
    )
    return ", ".join(told) or "-"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
