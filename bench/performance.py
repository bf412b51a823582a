"""Writes docs/performance.md from `bench/out/*.json` and the remarks in `bench/notes/`; types no figure itself.

`python -m bench.performance` writes it, `--check` fails if it is not what the files say.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench.report import OUT, ROOT

PAGE = ROOT / "docs" / "performance.md"
NOTES = Path(__file__).resolve().parent / "notes"
HEAD = """# Performance

Each table is what one command printed; `bench/out/<name>.json` holds the same. Our figures and the peer's are from the
same run on the same machine; where turns were measured, the value is their median, with the lowest and highest. This
page is generated (`python -m bench.performance`): a figure that is not in such a file is not here, except in the
remarks, which tell of earlier tries.
"""
COMMANDS = {
    "gateway": "make bench-gateway",
    "gateway_faults": "make bench-gateway-faults",
    "reconcile": "make bench-reconcile-embedded",
    "reconcile_real": "make bench-reconcile-real",
    "reconcile_floor": "make bench-reconcile-floor",
    "ledger": "make bench-ledger",
    "speech_server": "make bench-speech-server",
    "speech_stream": "make bench-speech-stream",
    "upload_memory": "make bench-upload-memory",
    "embedded_api": "make bench-embedded-api",
    "text_server": "make bench-text-server",
    "embedding_server": "make bench-embedding-server",
    "image_server": "make bench-image-server",
    "units": "make bench-units",
    "transcription_server": "make bench-transcription-server",
}


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for path in sorted(OUT.glob("*.json")):
        parts.append(section(path.stem, json.loads(path.read_text())))
    return "\n".join(parts)


def section(name: str, result: dict[str, Any]) -> str:
    """One bench: command, machine, table, remarks."""
    machine = result["machine"]
    command = COMMANDS.get(name, f"python -m bench.{name}")
    lines = [
        f"## {name.replace('_', ' ').capitalize()}",
        "",
        f"`{command}` at commit `{result['commit']}` on {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}, Python {machine['python']}, "
        f"load {machine['load_1min']} at the end.",
        "",
        "| figure | ours | unit | target | met | peer | peer's |",
        "|---|---:|---|---|---|---|---:|",
    ]
    lines += [row(figure) for figure in result["figures"]]
    note = NOTES / f"{name}.md"
    if note.exists():
        lines += ["", note.read_text().strip()]
    return "\n".join(lines) + "\n"


def row(figure: dict[str, Any]) -> str:
    """One figure as a table row."""
    peer_value = "" if figure["peer_value"] is None else number(figure["peer_value"])
    cells = (
        figure["name"],
        value_of(figure),
        figure["unit"],
        figure["target"],
        met(figure),
        figure["peer"],
        peer_value,
    )
    return "| " + " | ".join(cells) + " |"


def value_of(figure: dict[str, Any]) -> str:
    """The value; of several turns the median, and the lowest and highest."""
    if not figure.get("spread"):
        return number(figure["value"])
    lowest, highest = figure["spread"]
    return f"{number(figure['value'])} ({number(lowest)} to {number(highest)})"


def number(value: float) -> str:
    """Three significant digits below 1,000, whole numbers above."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def met(figure: dict[str, Any]) -> str:
    """`yes`, `no`, or nothing if there is no target."""
    if not figure["target"]:
        return ""
    sign, _, bound = figure["target"].partition(" ")
    value, limit = figure["value"], float(bound)
    return "yes" if {"<=": value <= limit, ">=": value >= limit, "=": value == limit}[sign] else "**no**"


def main() -> None:
    """Write the page, or check it."""
    text = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        sys.exit("docs/performance.md is not what bench/out says: run `python -m bench.performance`")


if __name__ == "__main__":
    main()
