"""`python -m tests.contract.commands.record [SCENARIO...]`: asks a real API server and rewrites the golden files."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.cluster.binaries import binaries
from tests.cluster.control_plane import control_plane
from tests.contract.commands.golden import FOLDER, golden_path, prepare
from tests.contract.commands.runner import answers
from tests.contract.commands.scenario import scenarios
from tests.servers import real_server

if __name__ == "__main__":
    console = Console(stderr=True)
    known = scenarios()
    chosen = sys.argv[1:] or list(known)
    with (
        tempfile.TemporaryDirectory() as folder,
        control_plane(Path(folder), binaries(console)) as plane,
        real_server(plane) as api,
    ):
        prepare(api)
        FOLDER.mkdir(exist_ok=True)
        for name in chosen:
            place = Path(folder, "commands", name)
            place.mkdir(parents=True)
            found = answers(api, known[name], place)
            golden_path(name).write_text("\n".join(found) + "\n")
            console.print(f"{name}: {len(found)} commands")
