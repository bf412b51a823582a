"""`python -m tests.contract.bad_input.answers` records what a real API server says; `golden.txt` is read by a test."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from insource.api.kinds import BY_KIND, KINDS
from tests.cluster.binaries import binaries
from tests.cluster.control_plane import control_plane
from tests.cluster.kwok import apply_crds
from tests.contract.bad_input.mutations import mutations
from tests.servers import ApiServer, real_server

GOLDEN = Path(__file__).with_name("golden.txt")
CRDS = Path(__file__).parents[3] / "crds"
SHOWN = 4
"""Causes of one answer that are kept: the rest is their number."""
WIDTH = 300
"""Characters of each that are kept."""


def answers(api: ApiServer, kind: str, namespace: str) -> Iterator[str]:
    """What is said to each object that is wrong, as kubectl sends it: with strict validation; nothing is stored."""
    of = BY_KIND[kind]
    where = f"namespaces/{namespace}/" if of.namespaced else ""
    path = f"/apis/insource.dev/v1alpha1/{where}{of.plural}?dryRun=All&fieldValidation=Strict"
    for mutation in mutations(kind):
        answer = api.request("POST", path, mutation.obj)
        status = f"{answer.status} {answer.body.get('reason', 'taken')}"
        yield "\n    ".join((f"{kind} {mutation.title}", status, *_said(answer.body)))


def _said(body: dict[str, Any]) -> list[str]:
    """Sorted: a real server goes through maps as they come."""
    causes = body.get("details", {}).get("causes") or []
    lines = sorted(" ".join(f"{each.get('field', '')}: {each['message']}".split())[:WIDTH] for each in causes)
    if not lines and "message" in body:
        return [" ".join(body["message"].split())[:WIDTH]]
    return lines if len(lines) <= SHOWN else [*lines[:SHOWN], f"and {len(lines) - SHOWN} more"]


def recorded() -> dict[str, list[str]]:
    """The golden answers, by kind."""
    text = GOLDEN.read_text().strip().split("\n\n")
    return {kind.kind: [each for each in text if each.startswith(f"{kind.kind} ")] for kind in KINDS}


def main() -> int:
    """Ask a real one, and keep what it says."""
    with (
        tempfile.TemporaryDirectory() as folder,
        control_plane(Path(folder), binaries(Console(stderr=True))) as plane,
        real_server(plane) as api,
    ):
        apply_crds(api, CRDS)
        with api.namespace("bad-input") as namespace:
            found = [each for kind in KINDS for each in answers(api, kind.kind, namespace)]
    GOLDEN.write_text("\n\n".join(found) + "\n")
    print(f"{len(found)} answers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
