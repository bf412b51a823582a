"""`python -m tests.charts.freeze NAME`: what this release's operator has written, as a later one will find it.

One file for each release, written once and never again: a later release must restart none of what is in it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from insource.api.catalogue import builtin_objects
from tests.unit.domain_world import World, spec

RELEASES = Path(__file__).parent / "releases"
KINDS = ("CatalogModel", "InferenceRuntime", "AcceleratorClass")
Object = dict[str, Any]


def worlds() -> dict[str, World]:
    """ModelDeployments such as people have: of the CPU, of an accelerator, with nothing but the model in-house."""
    accelerator = {"model": "whisper-large-v3-turbo", "accelerator": {"class": "nvidia-l4"}, "slots": 4}
    plain = {"name": "a", "inHouse": {"model": "whisper-tiny-en", "accelerator": {"class": "cpu"}}}
    found = {
        "cpu": World(),
        "accelerator": World(
            spec(
                backends=[{"name": "inhouse", "inHouse": accelerator}, spec()["backends"][1]],
                traffic={"primary": "inhouse", "requestTimeout": "20m"},
                replicas=3,
            )
        ),
        "plain": World({"modality": "Transcription", "backends": [plain], "traffic": {"primary": "a"}}),
    }
    for world in found.values():
        world.serve()
    return found


def frozen() -> Object:
    """All of it as JSON."""
    deployments = {
        name: {"deployment": world.object, "live": list(world.live.values())} for name, world in worlds().items()
    }
    return {"catalogue": [each for each in builtin_objects() if each["kind"] in KINDS], "deployments": deployments}


if __name__ == "__main__":
    path = RELEASES / f"{sys.argv[1]}.json"
    if path.exists():
        sys.exit(f"{path} is there: a release is frozen once")
    path.write_text(json.dumps(frozen(), indent=1, sort_keys=True) + "\n")
