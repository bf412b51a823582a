"""`python -m tests.contract.observed.record`: asks a real API server and rewrites golden.jsonl."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from rich.console import Console

from tests.cluster.binaries import binaries
from tests.cluster.control_plane import control_plane
from tests.contract.observed.scenarios import GOLDEN, SCENARIOS, observe, prepare
from tests.servers import real_server

if __name__ == "__main__":
    console = Console(stderr=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        control_plane(Path(folder), binaries(console)) as plane,
        real_server(plane) as api,
    ):
        prepare(api)
        lines = []
        for scenario in SCENARIOS:
            console.print(f"observing {scenario}")
            for name, value in observe(api, scenario).items():
                line = {"scenario": scenario, "name": name, "value": value}
                lines.append(json.dumps(line, sort_keys=True, ensure_ascii=False))
        GOLDEN.write_text("\n".join(lines) + "\n")
        console.print(f"{len(lines)} observations in {GOLDEN.name}")
