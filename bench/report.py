"""What every bench shares: the machine, the figures, the table and the JSON file. Measures nothing itself."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
OUT = Path(__file__).resolve().parent / "out"


@dataclass(frozen=True)
class Figure:
    """One measured number. `target` is text such as `<= 2`; `spread` is (smallest, largest) over `runs`."""

    name: str
    value: float
    unit: str
    target: str = ""
    peer: str = ""
    """What it is compared with, measured in the same run."""
    peer_value: float | None = None
    runs: int = 1
    spread: tuple[float, float] | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None if there is none."""
        if not self.target:
            return None
        sign, _, bound = self.target.partition(" ")
        limit = float(bound)
        return {"<=": self.value <= limit, ">=": self.value >= limit, "=": self.value == limit}[sign]


def machine() -> dict[str, Any]:
    """Processor, cores, memory (GiB), kernel, Python, and the load at this moment."""
    model = platform.processor()
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory_kib = next((int(line.split()[1]) for line in _lines(Path("/proc/meminfo")) if "MemTotal" in line), 0)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kib / 1024**2, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """The commit that is checked out, with `+` if the working tree differs; empty outside a repository."""
    try:
        revision = _git("rev-parse", "--short=12", "HEAD")
        return revision + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def write(name: str, figures: Sequence[Figure], notes: Sequence[str] = ()) -> Path:
    """Write `bench/out/<name>.json` and return its path. `notes` say what a reader must know of the run."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    document = {
        "machine": machine(),
        "commit": commit(),
        "figures": [asdict(figure) for figure in figures],
        "notes": list(notes),
    }
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return path


def show(title: str, figures: Sequence[Figure], console: Console | None = None) -> None:
    """Print the figures as a table: ours beside the peer's, and whether the target is reached."""
    table = Table(title=title, title_justify="left")
    for heading in ("figure", "value", "unit", "target", "", "peer", "peer's"):
        table.add_column(heading, justify="right" if heading in ("value", "peer's") else "left")
    for figure in figures:
        verdict = {None: "", True: "[green]reached[/]", False: "[red]missed[/]"}[figure.met]
        peers = "" if figure.peer_value is None else _number(figure.peer_value)
        table.add_row(figure.name, _number(figure.value), figure.unit, figure.target, verdict, figure.peer, peers)
    (console or Console()).print(table)


def percentile(values: Sequence[float], quantile: float) -> float:
    """The nearest-rank quantile (0..1) of values; 0.0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _git(*arguments: str) -> str:
    return subprocess.run(
        ("git", *arguments), cwd=ROOT, check=True, capture_output=True, text=True, timeout=20
    ).stdout.strip()
