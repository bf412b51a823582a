"""What the embedded API server does not do it refuses with 501 and by name; docs/embedded-cluster.md lists it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import JSON_PATCH, ApiServer

PAGE = (Path(__file__).parents[2] / "docs" / "embedded-cluster.md").read_text()
POD = "/api/v1/namespaces/default/pods/p"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGET = Path(__file__).parent / "observed" / "widget.yaml"


@pytest.mark.parametrize(
    ("name", "method", "path"),
    [
        ("pods/exec", "POST", f"{POD}/exec?command=ls"),
        ("pods/attach", "GET", f"{POD}/attach"),
        ("pods/portforward", "POST", f"{POD}/portforward"),
        ("pods/proxy", "GET", f"{POD}/proxy"),
        ("services/proxy", "GET", "/api/v1/namespaces/default/services/s/proxy"),
        ("nodes/proxy", "GET", "/api/v1/nodes/n/proxy"),
        ("pods/eviction", "POST", f"{POD}/eviction"),
        ("pods/binding", "POST", f"{POD}/binding"),
        ("pods/ephemeralcontainers", "PATCH", f"{POD}/ephemeralcontainers"),
        ("pods/resize", "PATCH", f"{POD}/resize"),
        ("resourcequotas", "POST", "/api/v1/namespaces/default/resourcequotas"),
        ("limitranges", "POST", "/api/v1/namespaces/default/limitranges"),
    ],
)
def test_a_refused_request(embedded_api: ApiServer, name: str, method: str, path: str) -> None:
    made: Any = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    embedded_api.request("POST", "/api/v1/namespaces/default/pods", made)
    body = {"metadata": {"name": "p"}} if method in ("POST", "PATCH") else None
    media = "application/merge-patch+json" if method == "PATCH" else "application/json"
    answer = embedded_api.request(method, path, body, media)
    refused(answer.status, answer.body)
    assert name in PAGE


def refused(status: int, body: Any) -> None:
    assert status == 501, body
    assert body["reason"] == "NotImplemented"
    assert "the embedded API server does not implement" in body["message"]


def test_protobuf_alone(embedded_api: ApiServer) -> None:
    answer = embedded_api.request("GET", "/api/v1/nodes", accept="application/vnd.kubernetes.protobuf")
    assert answer.status == 501
    assert "accept application/json" in answer.body


def test_events_by_json_patch(embedded_api: ApiServer) -> None:
    path = "/apis/events.k8s.io/v1/namespaces/default/events"
    event = {
        "metadata": {"name": "e"},
        "eventTime": "2026-11-24T12:00:00.000000Z",
        "reportingController": "test.example/c",
        "reportingInstance": "c",
        "action": "A",
        "reason": "R",
        "type": "Normal",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    }
    embedded_api.ok("POST", path, event)
    patch = [{"op": "add", "path": "/note", "value": "x"}]
    answer = embedded_api.request("PATCH", f"{path}/e", patch, JSON_PATCH)
    refused(answer.status, answer.body)


@pytest.mark.parametrize("what", ["versions", "function"])
def test_a_crd_that_asks_too_much(embedded_api: ApiServer, what: str) -> None:
    crd = yaml.safe_load(WIDGET.read_text())
    crd["metadata"]["name"] = "gadgets.demo.insource.dev"
    crd["spec"]["names"] = {"kind": "Gadget", "plural": "gadgets", "singular": "gadget"}
    version = crd["spec"]["versions"][0]
    if what == "versions":
        crd["spec"]["versions"].append({**version, "name": "v1beta1", "storage": False})
    else:
        rules = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"]
        rules.append({"rule": "url(self.note).getHost() == 'x'"})
    answer = embedded_api.request("POST", CRDS, crd)
    refused(answer.status, answer.body)
    assert embedded_api.request("GET", f"{CRDS}/gadgets.demo.insource.dev").status == 404
