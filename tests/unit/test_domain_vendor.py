"""The plan for a Vendor: adapter, Service, routes, status; and for a namespace."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from insource.api import conditions as c
from insource.api import meta
from insource.api.kinds import parse
from insource.api.model_deployment import ModelDeploymentSpec
from insource.api.vendor import VendorSpec
from insource.domain.identity import gateway_token, token_digest
from insource.domain.plan import plan_namespace, plan_vendor
from insource.domain.snapshot import NamespaceSnapshot, Plan, VendorAdapter, VendorSnapshot, child_of, pod_of
from insource.wire.routes import VendorRoutes
from tests.unit.domain_world import SETTINGS, spec, vendor_object


def mdep(name: str, wanted: dict[str, Any], status: dict[str, Any] | None = None, **labels: str) -> Any:
    metadata = {"name": name, "namespace": "voice", "labels": labels}
    return parse(
        {"kind": "ModelDeployment", "metadata": metadata, "spec": wanted, "status": status}, ModelDeploymentSpec
    )


class Shop:
    """One Vendor and its objects."""

    def __init__(self, *deployments: Any, **changes: Any) -> None:
        self.object = vendor_object(**changes)
        self.deployments = deployments
        self.live: dict[tuple[str, str], dict[str, Any]] = {}
        self.adapter = VendorAdapter()
        self.pods: list[dict[str, Any]] = []
        self.reasons: list[str] = []

    def step(self) -> Plan:
        plan = plan_vendor(
            VendorSnapshot(
                vendor=parse(copy.deepcopy(self.object), VendorSpec),
                deployments=self.deployments,
                settings=SETTINGS,
                now="2026-11-23T20:00:00Z",
                children=tuple(child_of(obj, keep_live=True) for obj in self.live.values()),
                pods=tuple(map(pod_of, self.pods)),
                adapter=self.adapter,
            )
        )
        for obj in plan.applies:
            self.live[obj["kind"], obj["metadata"]["name"]] = copy.deepcopy(obj)
        if plan.status is not None:
            self.object["status"] = plan.status
        self.reasons += [event.reason for event in plan.events]
        return plan

    def condition(self, type_: str) -> dict[str, Any]:
        return next((item for item in self.object["status"]["conditions"] if item["type"] == type_), {})

    @property
    def routes(self) -> VendorRoutes:
        return VendorRoutes.model_validate_json(self.live["ConfigMap", "openai-adapter"]["data"]["routes.json"])


def test_it_creates_the_adapter_and_reports_its_key() -> None:
    shop = Shop(mdep("dictation", spec()), limits={"requestsPerMinute": 60, "concurrency": 4})
    plan = shop.step()
    assert [obj["kind"] for obj in plan.applies] == ["ConfigMap", "Service", "Deployment"]
    assert plan.requeue_after_s is not None
    assert shop.condition(c.READY)["reason"] == "Starting"
    shop.adapter = VendorAdapter(ready=1, credentials_resolved=True)
    assert shop.step().requeue_after_s is None
    assert shop.condition(c.READY)["status"] == "True"
    assert shop.condition(c.RECONCILING) == {}
    assert shop.step().empty
    shop.adapter = VendorAdapter()
    shop.step()
    assert shop.condition(c.CREDENTIALS_RESOLVED)["status"] == "True", "one that cannot be asked has not lost its key"
    assert shop.reasons == ["Available", "Starting"]


def test_a_missing_key_stalls_and_names_the_secret() -> None:
    shop = Shop()
    shop.adapter = VendorAdapter(credentials_resolved=False)
    shop.step()
    assert shop.condition(c.STALLED)["message"] == 'key "key" of Secret "openai-key" not found'
    assert shop.reasons == ["CredentialsMissing"]
    shop.adapter = VendorAdapter(credentials_resolved=False, credentials_message="put it there")
    shop.step()
    assert shop.condition(c.READY)["message"] == "put it there"


def test_a_key_that_cannot_be_used_is_told_while_the_last_good_one_serves() -> None:
    shop = Shop()
    shop.adapter = VendorAdapter(ready=1, credentials_resolved=True, credentials_message="replace it")
    shop.step()
    told = shop.condition(c.CREDENTIALS_RESOLVED)
    assert (told["status"], told["reason"], told["message"]) == ("True", "LastGoodKey", "replace it")
    assert shop.condition(c.READY)["status"] == "True"
    shop.adapter = VendorAdapter(ready=1, credentials_resolved=True)
    shop.step()
    assert shop.condition(c.CREDENTIALS_RESOLVED)["reason"] == "Resolved"


def test_a_failing_adapter_is_told() -> None:
    shop = Shop()
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "no image"}}
    shop.pods = [{"metadata": {"name": "p"}, "status": {"containerStatuses": [{"name": "adapter", "state": state}]}}]
    shop.step()
    assert "no image" in shop.condition(c.READY)["message"]


def test_routes_are_those_of_the_deployments_that_use_it() -> None:
    other = spec(backends=[spec()["backends"][0]], traffic={"primary": "inhouse"})
    leaving = {"traffic": {"vendors": {"old": {"name": "openai", "model": "whisper-0"}}}}
    elsewhere = {"traffic": {"vendors": {"old": {"name": "azure", "model": "whisper-0"}}}}
    primary = spec(traffic={"primary": "openai", "requestTimeout": "30s"})
    shop = Shop(
        mdep("b-other", other),
        mdep("a-spill", spec()),
        mdep("c-primary", primary),
        mdep("d-leaving", other, leaving),
        mdep("e-elsewhere", other, elsewhere),
        allowedDeployments={"names": ["a-spill"]},
    )
    shop.step()
    routes = shop.routes.deployments
    assert list(routes) == ["a-spill", "c-primary", "d-leaving"]
    assert routes["a-spill"].model_dump(mode="json") == {
        "backend": "openai",
        "model": "whisper-1",
        "modality": "Transcription",
        "spill_daily_limit": "5",
        "request_timeout_s": 600,
        "allowed": True,
    }
    assert (routes["c-primary"].spill_daily_limit, routes["c-primary"].request_timeout_s) == ("", 30)
    assert not routes["c-primary"].allowed
    assert (routes["d-leaving"].backend, routes["d-leaving"].model) == ("old", "whisper-0")


def test_only_the_adapter_mounts_the_key_and_the_mount_is_optional() -> None:
    shop = Shop()
    shop.step()
    pod = shop.live["Deployment", "openai-adapter"]["spec"]["template"]["spec"]
    volumes = {item["name"]: item for item in pod["volumes"]}
    assert volumes["vendor-key"]["secret"] == {"secretName": "openai-key", "optional": True}
    environment = {item["name"]: item.get("value") for item in pod["containers"][0]["env"]}
    assert environment["INSOURCE_VENDOR_SECRET"] == "openai-key/key"
    assert environment["INSOURCE_VENDOR_KEY_FILE"].endswith("/key")
    assert environment["INSOURCE_CONCURRENCY"] == "0"
    assert "initContainers" not in pod


def adapter_pod(shop: Shop) -> tuple[dict[str, str], dict[str, Any], dict[str, str]]:
    """Environment, volumes and mounts of the adapter, by name."""
    pod = shop.live["Deployment", "openai-adapter"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return (
        {item["name"]: item.get("value", "") for item in container["env"]},
        {item["name"]: item for item in pod["volumes"]},
        {item["name"]: item["mountPath"] for item in container["volumeMounts"]},
    )


def test_a_proxy_and_a_private_ca_reach_the_adapter_and_nobody_else_gets_their_variables() -> None:
    plain = Shop()
    plain.step()
    environment, volumes, _ = adapter_pod(plain)
    assert not [name for name in environment if "PROXY" in name or "_CA_" in name]
    assert not {"proxy-credentials", "vendor-ca"} & set(volumes)

    shop = Shop(
        proxy={"url": "http://proxy:3128", "credentials": {"secretRef": {"name": "egress", "key": "basic"}}},
        caBundle={"configMapRef": {"name": "corp-ca"}},
    )
    shop.step()
    environment, volumes, mounts = adapter_pod(shop)
    assert environment["INSOURCE_PROXY_URL"] == "http://proxy:3128"
    assert environment["INSOURCE_PROXY_CREDENTIALS_FILE"] == f"{mounts['proxy-credentials']}/basic"
    assert environment["INSOURCE_PROXY_SECRET"] == "egress/basic"
    assert environment["INSOURCE_CA_FILE"] == f"{mounts['vendor-ca']}/ca.crt"
    assert environment["INSOURCE_CA_SOURCE"] == "ConfigMap corp-ca/ca.crt"
    assert volumes["proxy-credentials"]["secret"] == {"secretName": "egress", "optional": True}
    assert volumes["vendor-ca"]["configMap"] == {"name": "corp-ca", "optional": True}


def test_an_inline_bundle_is_a_file_beside_the_routes_so_an_edit_restarts_nothing() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"
    shop = Shop(caBundle={"inline": pem})
    shop.step()
    environment, volumes, mounts = adapter_pod(shop)
    assert environment["INSOURCE_CA_FILE"] == f"{mounts['routes']}/ca.crt"
    assert volumes["routes"]["configMap"]["name"] == "openai-adapter"
    assert shop.live["ConfigMap", "openai-adapter"]["data"]["ca.crt"] == pem
    shop.object["spec"]["caBundle"] = {"inline": pem * 2}
    assert [obj["kind"] for obj in shop.step().applies] == ["ConfigMap"]
    assert shop.live["ConfigMap", "openai-adapter"]["data"]["ca.crt"] == pem * 2
    del shop.object["spec"]["caBundle"]
    shop.step()
    assert "ca.crt" not in shop.live["ConfigMap", "openai-adapter"]["data"]


def test_a_vendor_that_is_being_deleted_is_left_alone() -> None:
    shop = Shop()
    shop.object["metadata"]["deletionTimestamp"] = "now"
    assert shop.step().empty


def test_a_namespace_gets_an_account_and_the_tokens_digests() -> None:
    token = gateway_token(b"master", "voice")
    assert len(token) == 64
    assert token != gateway_token(b"master", "other")
    digests = (token_digest(token), token_digest("older"))
    plan = plan_namespace(NamespaceSnapshot("voice", digests))
    account, tokens = plan.applies
    assert account["metadata"]["name"] == meta.ADAPTER_SERVICE_ACCOUNT
    assert account["automountServiceAccountToken"] is False
    assert tokens["data"]["sha256"].splitlines() == list(digests)
    children = tuple(child_of(obj, keep_live=True) for obj in plan.applies)
    assert plan_namespace(NamespaceSnapshot("voice", digests, children)).empty
    assert not plan_namespace(NamespaceSnapshot("voice", digests[:1], children)).empty


@pytest.mark.parametrize("text", ["{}", '{"deployments": {}}'])
def test_routes_json_is_the_wire_shape(text: str) -> None:
    assert VendorRoutes.model_validate(json.loads(text)).deployments == {}
