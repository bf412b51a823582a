"""kubectl with files as people write them: lists, several documents, kustomize, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from insource.local.schema import copied
from tests.contract.conftest import Cluster
from tests.contract.test_kubectl_writes import DEPLOYMENTS, deployment
from tests.unit.local_widgets import WIDGETS, widget

CONFIG_MAPS = ("", "configmaps")
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}}
LIST = {"apiVersion": "v1", "kind": "List", "items": [CONFIG, deployment(), widget("a")]}


@pytest.mark.parametrize("way", [(), ("--server-side",), ("--validate=strict",)])
async def test_apply_of_a_list(cluster: Cluster, way: tuple[str, ...]) -> None:
    applied = await cluster.ok("apply", *way, "-f", "-", stdin=LIST)
    assert len(applied.splitlines()) == 3
    assert cluster.store.get(CONFIG_MAPS, "ns", "m")["data"] == {"a": "b"}
    assert cluster.store.get(WIDGETS, "ns", "a")["spec"]["color"] == "red"
    again = await cluster.ok("apply", *way, "-f", "-", stdin=LIST)
    assert "created" not in again
    await cluster.ok("delete", "-f", "-", stdin=LIST)
    assert cluster.store.find(DEPLOYMENTS, "ns", "d") is None


async def test_a_mistake_in_a_list_is_refused_with_its_path(cluster: Cluster) -> None:
    wrong = {**LIST, "items": [CONFIG, widget("a", colour="red")]}
    answer = await cluster.kubectl("apply", "-f", "-", stdin=wrong)
    assert answer.code == 1
    assert (
        'ValidationError(Widget.spec): unknown field "colour" in dev.insource.demo.v1alpha1.Widget.spec' in answer.err
    )


async def test_several_documents_in_one_file(cluster: Cluster) -> None:
    text = "\n---\n".join(json.dumps(document) for document in (CONFIG, widget("a"))) + "\n---\n"
    await cluster.ok("apply", "-f", "-", stdin=text)
    assert cluster.store.find(WIDGETS, "ns", "a") is not None
    await cluster.ok("delete", "-f", "-", stdin=text)
    assert cluster.store.find(CONFIG_MAPS, "ns", "m") is None


async def test_kustomize(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(json.dumps(LIST))
    kustomization = {"namePrefix": "k-", "resources": ["all.yaml"], "images": [{"name": "i", "newTag": "7"}]}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(kustomization))
    await cluster.ok("apply", "-k", str(tmp_path))
    (container,) = cluster.store.get(DEPLOYMENTS, "ns", "k-d")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "i:7"
    await cluster.ok("delete", "-k", str(tmp_path))
    assert cluster.store.find(WIDGETS, "ns", "k-a") is None


def misspelt() -> dict[str, Any]:
    wrong: dict[str, Any] = copied(deployment())
    wrong["spec"]["template"]["spec"]["containers"][0]["imagee"] = "i:1"
    wrong["spec"]["bogus"] = 1
    return wrong


async def test_unknown_fields_of_a_built_in_kind(cluster: Cluster) -> None:
    """As the real server: 400 when strict, warnings and pruning else, 422 on a patch."""
    strict = await cluster.kubectl("apply", "-f", "-", stdin=misspelt())
    assert strict.code == 1
    assert (
        'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
        'unknown field "spec.bogus", unknown field "spec.template.spec.containers[0].imagee"'
    ) in strict.err
    warned = await cluster.kubectl("create", "--validate=warn", "-f", "-", stdin=misspelt())
    assert warned.code == 0
    assert 'Warning: unknown field "spec.bogus"' in warned.err
    stored = cluster.store.get(DEPLOYMENTS, "ns", "d")
    assert "bogus" not in stored["spec"]
    assert "imagee" not in stored["spec"]["template"]["spec"]["containers"][0]
    applied = await cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=misspelt())
    assert "field not declared in schema" in applied.err
    path = "/apis/apps/v1/namespaces/ns/deployments/d?fieldValidation=Strict"
    media = {"Content_Type": "application/merge-patch+json"}
    status, body = await cluster.http("PATCH", path, {"spec": {"bogus": 1}}, **media)
    assert (status, body["details"]["causes"][0]["field"]) == (422, "patch")
    assert 'unknown field "spec.bogus"' in body["message"]


@pytest.mark.parametrize(
    ("kind", "path", "body", "field"),
    [
        ("Service", "services", {"spec": {"ports": [{"port": 80, "protcol": "TCP"}]}}, "spec.ports[0].protcol"),
        ("ConfigMap", "configmaps", {"dta": {"a": "b"}}, "dta"),
        ("Secret", "secrets", {"stringdata": {"a": "b"}}, "stringdata"),
        ("ServiceAccount", "serviceaccounts", {"metadata": {"label": {}}}, "metadata.label"),
        ("Pod", "pods", {"spec": {"containers": [{"name": "c", "image": "i", "envs": []}]}}, "spec.containers[0].envs"),
        ("PersistentVolumeClaim", "persistentvolumeclaims", {"spec": {"size": "1Gi"}}, "spec.size"),
    ],
)
async def test_each_kind_names_its_unknown_field(
    cluster: Cluster, kind: str, path: str, body: dict[str, Any], field: str
) -> None:
    sent = {**body, "metadata": {"name": "x", **body.get("metadata", {})}}
    status, answer = await cluster.http("POST", f"/api/v1/namespaces/ns/{path}?fieldValidation=Strict", sent)
    assert (status, answer["reason"]) == (400, "BadRequest")
    assert answer["message"] == (
        f'{kind} in version "v1" cannot be handled as a {kind}: strict decoding error: unknown field "{field}"'
    )


async def test_a_value_of_the_wrong_type_is_refused(cluster: Cluster) -> None:
    wrong = {**deployment(), "spec": {**deployment()["spec"], "replicas": "two"}}
    answer = await cluster.kubectl("apply", "-f", "-", stdin=wrong)
    assert answer.code == 1
    assert "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32" in answer.err
