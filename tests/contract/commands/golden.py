"""What a real server was seen to answer, scenario by scenario; and what each scenario needs to be served."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.contract.commands.acts import act
from tests.contract.commands.scenario import HERE, Act
from tests.contract.commands.transcript import split
from tests.servers import ApiServer

FOLDER = HERE / "golden"
ROOT = HERE.parents[2]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def golden_path(scenario: str) -> Path:
    return FOLDER / f"{scenario}.txt"


def golden(scenario: str) -> list[str]:
    """Each command of the scenario with its answer."""
    path = golden_path(scenario)
    return [part.removesuffix("\n") for part in split(path.read_text())] if path.exists() else []


def prepare(api: ApiServer) -> None:
    """Serve Widgets, and Insource's own kinds."""
    paths = [HERE.parent / "observed" / "widget.yaml", *sorted((ROOT / "crds").glob("*.yaml"))]
    for path in paths:
        crd = yaml.safe_load(path.read_text())
        if api.request("GET", f"{CRDS}/{crd['metadata']['name']}").status == 404:
            api.ok("POST", CRDS, crd)
        act(api, "", Act("served", (crd["spec"]["group"], crd["spec"]["names"]["plural"])))
