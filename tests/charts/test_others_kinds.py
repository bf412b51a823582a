"""What the chart renders of others' kinds (Gateway API, Prometheus operator), on a real API server that has them.

Their controllers are not run: whether every field is taken and kept, and whether what it names is there, is what can be
wrong in a chart. `tests.charts.test_monitors` has what a monitor selects.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from insource.api.meta import SYSTEM_NAMESPACE
from tests.charts.cluster import Cluster
from tests.charts.helm import RELEASE, ROOT, VALUES, find, objects, rendered
from tests.charts.monitors import KINDS, WAYS, monitors
from tests.charts.test_documents import shell
from tests.cluster.others_crds import install

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400), pytest.mark.xdist_group("chart-others-kinds")]
PAGE = ROOT / "docs" / "how-to" / "ingress-and-httproute.md"
HTTP_ROUTES = "httproutes.gateway.networking.k8s.io"
MONITORING = f"/apis/monitoring.coreos.com/v1/namespaces/{SYSTEM_NAMESPACE}"


def test_the_route_as_the_page_says(cluster: Cluster, tmp_path: Path) -> None:
    install(cluster.api, HTTP_ROUTES)
    shutil.copy(VALUES / "ingress.yaml", tmp_path)
    (tmp_path / "charts").symlink_to(ROOT / "charts")
    of_release, of_gateway = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert "models.example.com" in shell(cluster, of_release, tmp_path)
    assert shell(cluster, of_gateway, tmp_path) == "", "no controller has looked at it"

    route = cluster.ours("httproutes", "insource-gateway", "apis/gateway.networking.k8s.io/v1")
    assert route is not None
    wanted = find(objects(rendered(tmp_path, "--values", VALUES / "ingress.yaml")), "HTTPRoute", "insource-gateway")
    assert missing(wanted["spec"], route["spec"]) == []
    for rule in route["spec"]["rules"]:
        for backend in rule["backendRefs"]:
            service = cluster.ours("services", backend["name"])
            assert service is not None
            assert backend["port"] in [port["port"] for port in service["spec"]["ports"]]

    said = {"parents": [_parent(route["spec"]["parentRefs"][0], "the Gateway allows no routes from here")]}
    path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{SYSTEM_NAMESPACE}/httproutes/insource-gateway"
    cluster.api.ok("PATCH", f"{path}/status", {"status": said}, "application/merge-patch+json")
    assert shell(cluster, of_gateway, tmp_path) == "Accepted=False the Gateway allows no routes from here\n"
    cluster.helm("uninstall", RELEASE, "--wait", "--timeout", "120s")
    assert cluster.get(path) is None


@pytest.mark.parametrize("way", WAYS)
def test_monitors_are_taken_with_every_field(way: str, cluster: Cluster, tmp_path: Path) -> None:
    install(cluster.api, *(f"{plural}.monitoring.coreos.com" for plural in KINDS.values()))
    cluster.restricted_namespace()
    wanted = monitors(objects(rendered(tmp_path, *(word for value in WAYS[way] for word in ("--set", value)))))
    assert wanted
    for each in wanted:
        path = f"{MONITORING}/{KINDS[each['kind']]}"
        answer = cluster.api.request("POST", f"{path}?fieldValidation=Strict", each)
        assert (answer.status, answer.warnings) == (201, []), answer.body
        assert missing(each["spec"], answer.body["spec"]) == []
        cluster.api.ok("DELETE", f"{path}/{each['metadata']['name']}")


def _parent(reference: dict[str, Any], message: str) -> dict[str, Any]:
    condition = {
        "type": "Accepted",
        "status": "False",
        "reason": "NotAllowedByListeners",
        "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    return {"parentRef": reference, "controllerName": "example.com/gateway", "conditions": [condition]}


def missing(wanted: Any, found: Any, path: str = "spec") -> list[str]:
    """What of `wanted` the API server has not kept as it was; what it has added is no matter."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [
            each
            for key, value in wanted.items()
            for each in (missing(value, found[key], f"{path}.{key}") if key in found else [f"{path}.{key}"])
        ]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return [each for index, (one, other) in pairs for each in missing(one, other, f"{path}[{index}]")]
    return [] if wanted == found else [path]
