"""CustomResourceDefinitions of others, whose kinds the chart can render: read from their Go modules, never committed.

`build/crds/go.mod` pins the modules, and its go.sum what is in them.
"""

from __future__ import annotations

from typing import Any

import yaml

from tests.cluster.binaries import CRDS, go_module_folder
from tests.cluster.processes import wait_until
from tests.servers import ApiServer

PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
FOLDERS = {
    "gateway.networking.k8s.io": ("sigs.k8s.io/gateway-api", "config/crd/standard"),
    "monitoring.coreos.com": ("github.com/prometheus-operator/prometheus-operator", "example/prometheus-operator-crd"),
}
"""Group -> Go module, and the folder in it."""


def crd(name: str) -> dict[str, Any]:
    """The CRD `plural.group`, as its project ships it. Raises BuildError without Go or a way to the module."""
    plural, _, group = name.partition(".")
    module, folder = FOLDERS[group]
    path = go_module_folder(CRDS, module) / folder / f"{group}_{plural}.yaml"
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    assert found["metadata"]["name"] == name
    return found


def install(api: ApiServer, *names: str) -> None:
    """Have these kinds served. Repeatable."""
    for name in names:
        answer = api.request("POST", PATH, crd(name))
        assert answer.status in (201, 409), answer.body
    wait_until(lambda: all(_is_served(api, name) for name in names), [], f"the kinds {', '.join(names)}")


def _is_served(api: ApiServer, name: str) -> bool:
    found = api.ok("GET", f"{PATH}/{name}")
    conditions = {each["type"]: each["status"] for each in (found["status"].get("conditions") or ())}
    if conditions.get("Established") != "True":
        return False
    plural, _, group = name.partition(".")
    (version,) = (each["name"] for each in found["spec"]["versions"] if each["storage"])
    return api.request("GET", f"/apis/{group}/{version}/{plural}").status == 200
