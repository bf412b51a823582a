"""kubectl get, describe, wait, logs, api-resources, auth."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.contract.conftest import Cluster
from tests.unit.local_widgets import WIDGETS, widget

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL_DEPLOYMENTS = ("insource.dev", "modeldeployments")
POD: dict[str, Any] = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}


async def test_get_prints_the_printer_columns(cluster: Cluster) -> None:
    cluster.store.create(WIDGETS, widget("a"), "ns")
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    cluster.store.patch(WIDGETS, "ns", "a", ready, "merge", subresource="status")
    heading, row = (await cluster.ok("get", "wd")).splitlines()
    assert heading.split() == ["NAME", "COLOR", "READY", "AGE"]
    assert row.split()[:3] == ["a", "red", "True"]


async def test_get_pods_wide(cluster: Cluster) -> None:
    cluster.store.create(("", "pods"), POD, "ns")
    heading, row = (await cluster.ok("get", "pods", "-o", "wide")).splitlines()
    assert heading.split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert row.split()[:4] == ["p", "0/1", "Pending", "0"]


async def test_get_yaml_json_and_selectors(cluster: Cluster) -> None:
    cluster.store.create(WIDGETS, widget("a"), "ns")
    cluster.store.create(WIDGETS, widget("b", color="blue"), "ns")
    assert "color: red" in await cluster.ok("get", "widget", "a", "-o", "yaml")
    found = json.loads(await cluster.ok("get", "wd", "--field-selector", "spec.color=blue", "-o", "json"))
    assert [item["metadata"]["name"] for item in found["items"]] == ["b"]
    missing = await cluster.kubectl("get", "wd", "zz")
    assert 'widgets.demo.insource.dev "zz" not found' in missing.err


async def test_get_watch_sees_changes(cluster: Cluster) -> None:
    cluster.store.create(WIDGETS, widget("a"), "ns")
    process = await cluster.start("get", "wd", "-w", "-o", "name")
    assert process.stdout is not None
    assert (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip().endswith("/a")
    cluster.store.create(WIDGETS, widget("b"), "ns")
    assert (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip().endswith("/b")
    process.terminate()
    await process.communicate()


async def test_describe_shows_events(cluster: Cluster) -> None:
    obj = cluster.store.create(WIDGETS, widget("a"), "ns")
    event = {
        "metadata": {"generateName": "a."},
        "regarding": {"kind": "Widget", "name": "a", "namespace": "ns", "uid": obj["metadata"]["uid"]},
        "reason": "Painted",
        "note": "it is red now",
        "type": "Normal",
        "reportingController": "insource",
        "eventTime": "2026-11-23T22:00:00.000000Z",
    }
    status, body = await cluster.http("POST", "/apis/events.k8s.io/v1/namespaces/ns/events", event)
    assert (status, body["note"]) == (201, "it is red now")
    described = await cluster.ok("describe", "wd", "a")
    assert "Painted" in described
    assert "it is red now" in described


async def test_wait_for_condition_and_jsonpath(cluster: Cluster) -> None:
    cluster.store.create(WIDGETS, widget("a"), "ns")
    process = await cluster.start("wait", "--for=condition=Ready", "wd/a", "--timeout=20s")
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    cluster.store.patch(WIDGETS, "ns", "a", ready, "merge", subresource="status")
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err
    assert b"condition met" in out
    assert "condition met" in await cluster.ok("wait", "--for=jsonpath={.spec.color}=red", "wd/a", "--timeout=20s")


async def test_logs(cluster: Cluster) -> None:
    cluster.store.create(("", "pods"), {**POD, "spec": {**POD["spec"], "nodeName": "n"}}, "ns")
    assert await cluster.ok("logs", "p") == "one\ntwo\nthree\n"
    assert await cluster.ok("logs", "p", "--tail=1") == "three\n"


async def test_api_resources_and_explain(cluster: Cluster) -> None:
    listed = await cluster.ok("api-resources")
    for name in ("widgets", "deployments", "endpointslices", "tokenreviews"):
        assert name in listed
    assert "replicas\t<integer>" in await cluster.ok("explain", "widget.spec")


async def test_explain_of_our_kinds_and_of_built_in_ones(cluster: Cluster) -> None:
    assert "primary\t<string> -required-" in await cluster.ok("explain", "mdep.spec.traffic")
    assert "replicas\t<integer>" in await cluster.ok("explain", "deployment.spec")
    assert "openAPIV3Schema\t<JSONSchemaProps>" in await cluster.ok("explain", "crd.spec.versions.schema")


async def test_openapi_v2_has_every_kind(cluster: Cluster) -> None:
    status, body = await cluster.http("GET", "/openapi/v2")
    assert (status, body["swagger"]) == (200, "2.0")
    widget_spec = body["definitions"]["dev.insource.demo.v1alpha1.Widget"]["properties"]["spec"]
    assert widget_spec["required"] == ["color"]
    pod = body["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]
    assert pod["spec"]["$ref"] == "#/definitions/io.k8s.api.core.v1.PodSpec"


async def test_describe_and_events_of_a_model_deployment(cluster: Cluster) -> None:
    made = await cluster.ok("apply", "-f", str(EXAMPLES / "transcription.yaml"))
    assert "modeldeployment.insource.dev/dictation created" in made
    uid = cluster.store.get(MODEL_DEPLOYMENTS, "voice", "dictation")["metadata"]["uid"]
    about = {"kind": "ModelDeployment", "name": "dictation", "namespace": "voice", "uid": uid}
    event = {
        "metadata": {"generateName": "dictation."},
        "regarding": {**about, "apiVersion": "insource.dev/v1alpha1"},
        "reason": "Stalled",
        "note": "no such CatalogModel",
        "type": "Warning",
        "reportingController": "insource",
        "eventTime": "2026-11-23T22:00:00.000000Z",
    }
    await cluster.http("POST", "/apis/events.k8s.io/v1/namespaces/voice/events", event)
    for command in (("describe", "mdep"), ("get", "events"), ("events", "--for", "mdep/dictation")):
        assert "no such CatalogModel" in await cluster.ok(*command, "-n", "voice")


async def test_who_am_i(cluster: Cluster) -> None:
    assert "admin" in await cluster.ok("auth", "whoami")
    assert (await cluster.ok("auth", "can-i", "create", "pods")).strip() == "yes"


async def test_a_stranger_is_401(cluster: Cluster) -> None:
    status, body = await cluster.http("GET", "/api/v1/namespaces", token="wrong")
    assert (status, body["kind"], body["reason"]) == (401, "Status", "Unauthorized")


async def test_what_is_not_implemented_says_so(cluster: Cluster) -> None:
    cluster.store.create(("", "pods"), POD, "ns")
    for path in ("exec", "attach", "portforward"):
        status, body = await cluster.http("POST", f"/api/v1/namespaces/ns/pods/p/{path}")
        assert (status, body["reason"]) == (501, "NotImplemented")
        assert path in body["message"]
    status, _ = await cluster.http("POST", "/api/v1/namespaces/ns/resourcequotas", {"metadata": {"name": "q"}})
    assert status == 501
