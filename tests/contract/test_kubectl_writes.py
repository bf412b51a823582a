"""kubectl create, apply (both ways), edit-like commands, scale, delete."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from insource.local.schema import copied
from tests.contract.conftest import Cluster
from tests.contract.test_kubectl_reads import EXAMPLES, MODEL_DEPLOYMENTS
from tests.unit.local_widgets import WIDGETS, widget

DEPLOYMENTS = ("apps", "deployments")


def deployment(value: str = "1") -> dict[str, Any]:
    container = {"name": "c", "image": "i:1", "env": [{"name": "A", "value": value}, {"name": "B", "value": "x"}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template},
    }


async def test_create_speaks_protobuf(cluster: Cluster) -> None:
    await cluster.ok("create", "configmap", "c", "--from-literal=x=y")
    await cluster.ok("create", "secret", "generic", "s", "--from-literal=k=v")
    await cluster.ok("create", "namespace", "other")
    await cluster.ok("create", "serviceaccount", "bot")
    assert cluster.store.get(("", "configmaps"), "ns", "c")["data"] == {"x": "y"}
    assert cluster.store.get(("", "secrets"), "ns", "s")["data"] == {"k": "dg=="}


async def test_apply_client_side(cluster: Cluster) -> None:
    assert "created" in await cluster.ok("apply", "-f", "-", stdin=deployment())
    assert "unchanged" in await cluster.ok("apply", "-f", "-", stdin=deployment())
    assert "configured" in await cluster.ok("apply", "-f", "-", stdin=deployment("2"))
    (container,) = cluster.store.get(DEPLOYMENTS, "ns", "d")["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "A", "value": "2"}, {"name": "B", "value": "x"}]


async def test_apply_of_an_invalid_object_prints_the_rule(cluster: Cluster) -> None:
    answer = await cluster.kubectl("apply", "-f", "-", stdin=widget("a", replicas=9))
    assert answer.code == 1
    assert 'The Widget "a" is invalid: spec.replicas: Invalid value: replicas must not exceed maxReplicas' in answer.err


async def test_apply_server_side_with_a_conflict(cluster: Cluster) -> None:
    await cluster.ok("apply", "--server-side", "-f", "-", stdin=widget("a"))
    blue = widget("a", color="blue")
    answer = await cluster.kubectl("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=blue)
    assert answer.code == 1
    assert 'conflict with "kubectl": .spec.color' in answer.err
    await cluster.ok("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", stdin=blue)
    assert cluster.store.get(WIDGETS, "ns", "a")["spec"]["color"] == "blue"


async def test_client_side_then_server_side(cluster: Cluster) -> None:
    await cluster.ok("apply", "-f", "-", stdin=widget("a", opts={"k": "v"}))
    await cluster.ok("apply", "--server-side", "-f", "-", stdin=widget("a", opts={"k": "v"}))
    assert cluster.store.get(WIDGETS, "ns", "a")["spec"]["opts"] == {"k": "v"}


async def test_a_dropped_object_goes_with_the_defaults_in_it(cluster: Cluster) -> None:
    """Nobody owns `spill.when`, which the server filled in; without its required `backend` it would be refused."""
    with_spill = next(
        item for item in yaml.safe_load_all((EXAMPLES / "transcription.yaml").read_text()) if "spec" in item
    )
    with_spill["metadata"]["namespace"] = "ns"
    with_spill["spec"]["traffic"]["spill"] = {"backend": "openai"}
    without = copied(with_spill)
    del without["spec"]["traffic"]["spill"]
    await cluster.ok("apply", "--server-side", "-f", "-", stdin=with_spill)
    assert cluster.store.get(MODEL_DEPLOYMENTS, "ns", "dictation")["spec"]["traffic"]["spill"]["when"]
    await cluster.ok("apply", "--server-side", "-f", "-", stdin=without)
    assert "spill" not in cluster.store.get(MODEL_DEPLOYMENTS, "ns", "dictation")["spec"]["traffic"]


async def test_a_dropped_object_stays_for_a_co_owner(cluster: Cluster) -> None:
    mine = widget("a", opts={"k": "v"}, ports=[{"port": 80}])
    await cluster.ok("apply", "--server-side", "-f", "-", stdin=mine)
    also = {**widget("a"), "spec": {"opts": {"l": "w"}}}
    await cluster.ok("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=also)
    await cluster.ok("apply", "--server-side", "-f", "-", stdin=widget("a"))
    spec = cluster.store.get(WIDGETS, "ns", "a")["spec"]
    assert spec["opts"] == {"l": "w"}
    assert "ports" not in spec


async def test_label_annotate_patch(cluster: Cluster) -> None:
    cluster.store.create(WIDGETS, widget("a"), "ns")
    await cluster.ok("label", "wd", "a", "l=1")
    await cluster.ok("annotate", "wd", "a", "n=2")
    await cluster.ok("patch", "wd", "a", "--type=merge", "-p", '{"spec":{"color":"green"}}')
    obj = cluster.store.get(WIDGETS, "ns", "a")
    assert (obj["metadata"]["labels"], obj["metadata"]["annotations"]) == ({"l": "1"}, {"n": "2"})
    assert obj["spec"]["color"] == "green"


async def test_edit_sends_the_difference(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a strategic merge for a built-in kind, as a merge patch for ours."""
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/value: x/value: changed/; s/color: red/color: green/" "$1"\n')
    editor.chmod(0o700)
    monkeypatch.setenv("KUBE_EDITOR", str(editor))
    cluster.store.create(DEPLOYMENTS, deployment(), "ns")
    cluster.store.create(WIDGETS, widget("a"), "ns")
    await cluster.ok("edit", "deployment", "d")
    await cluster.ok("edit", "wd", "a")
    (container,) = cluster.store.get(DEPLOYMENTS, "ns", "d")["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "changed"}]
    assert cluster.store.get(WIDGETS, "ns", "a")["spec"]["color"] == "green"


async def test_json_and_strategic_patches(cluster: Cluster) -> None:
    cluster.store.create(DEPLOYMENTS, deployment(), "ns")
    operations = '[{"op":"test","path":"/spec/replicas","value":2},{"op":"replace","path":"/spec/replicas","value":3}]'
    await cluster.ok("patch", "deployment", "d", "--type=json", "-p", operations)
    failed = await cluster.kubectl("patch", "deployment", "d", "--type=json", "-p", operations)
    assert failed.code == 1
    env = [{"name": "B", "$patch": "delete"}, {"name": "C", "value": "3"}]
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "env": env}]}}}}
    await cluster.ok("patch", "deployment", "d", "-p", json.dumps(patch))
    spec = cluster.store.get(DEPLOYMENTS, "ns", "d")["spec"]
    assert spec["replicas"] == 3
    assert {item["name"] for item in spec["template"]["spec"]["containers"][0]["env"]} == {"A", "C"}
    await cluster.ok("set", "image", "deployment/d", "c=i:2")
    assert cluster.store.get(DEPLOYMENTS, "ns", "d")["spec"]["template"]["spec"]["containers"][0]["image"] == "i:2"


async def test_rollout_status_follows_a_deployment(cluster: Cluster) -> None:
    cluster.store.create(DEPLOYMENTS, deployment(), "ns")
    process = await cluster.start("rollout", "status", "deployment/d", "--timeout=20s")
    done = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    cluster.store.patch(DEPLOYMENTS, "ns", "d", {"status": done}, "merge", subresource="status")
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err
    assert b"successfully rolled out" in out


async def test_scale_a_deployment(cluster: Cluster) -> None:
    cluster.store.create(DEPLOYMENTS, deployment(), "ns")
    await cluster.ok("scale", "deployment", "d", "--replicas=5")
    assert cluster.store.get(DEPLOYMENTS, "ns", "d")["spec"]["replicas"] == 5
    await cluster.ok("scale", "deployment", "d", "--current-replicas=5", "--replicas=1")
    assert cluster.store.get(DEPLOYMENTS, "ns", "d")["spec"]["replicas"] == 1


async def test_delete_waits_for_finalizers(cluster: Cluster) -> None:
    obj = widget("a")
    obj["metadata"]["finalizers"] = ["x.io/1"]
    cluster.store.create(WIDGETS, obj, "ns")
    watch = cluster.store.watch(WIDGETS, "ns", field_selector="metadata.name=a")
    process = await cluster.start("delete", "wd", "a")
    async with asyncio.timeout(60):
        async for event in watch:
            if event.object["metadata"].get("deletionTimestamp"):
                break
    watch.close()
    assert process.returncode is None
    cluster.store.patch(WIDGETS, "ns", "a", {"metadata": {"finalizers": None}}, "merge")
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err
    assert b"deleted" in out


async def test_service_account_tokens(cluster: Cluster) -> None:
    """Audience, binding to a pod, review; kubectl mints one, too."""
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    uid = cluster.store.create(("", "pods"), pod, "ns")["metadata"]["uid"]
    spec = {"audiences": ["insource-ledger"], "boundObjectRef": {"kind": "Pod", "name": "p", "uid": uid}}
    path = "/api/v1/namespaces/ns/serviceaccounts/default/token"
    status, answer = await cluster.http("POST", path, {"spec": spec})
    assert status == 201
    token = answer["status"]["token"]

    async def review(*audiences: str) -> dict[str, Any]:
        body = {"spec": {"token": token, "audiences": list(audiences)}}
        return (await cluster.http("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body))[1]["status"]

    good = await review("insource-ledger")
    assert good["authenticated"]
    assert good["user"]["username"] == "system:serviceaccount:ns:default"
    assert good["audiences"] == ["insource-ledger"]
    assert not (await review("somebody-else"))["authenticated"]
    assert (await cluster.http("GET", "/api/v1/namespaces", token=token))[0] == 401
    cluster.store.delete(("", "pods"), "ns", "p")
    assert not (await review("insource-ledger"))["authenticated"]
    minted = (await cluster.ok("create", "token", "default")).strip()
    assert (await cluster.http("GET", "/api/v1/namespaces", token=minted))[0] == 403
    assert (await cluster.http("GET", "/api", token=minted))[0] == 200
