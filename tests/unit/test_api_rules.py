"""The CEL rules of the CRDs fire, by the library that the embedded API uses, with messages a person can act on."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from cel.cel import evaluate
from pydantic import ValidationError

from insource.api import crdgen
from insource.api.kinds import BY_KIND
from insource.api.rules import broken_rule
from insource.api.vendor import VendorSpec
from tests.unit.domain_world import spec, vendor_object


def violations(schema: dict[str, Any], value: Any, old: Any = None) -> list[str]:
    """Messages of all rules that a value breaks; transition rules only where there is an old value."""
    told = []
    for item in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" in item["rule"] and old is None:
            continue
        names = {"self": value} | ({"oldSelf": old} if old is not None else {})
        if evaluate(item["rule"], names) is not True:
            told.append(item["message"])
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name in value:
                told += violations(child, value[name], old.get(name) if isinstance(old, dict) else None)
    if isinstance(value, list):
        for entry in value:
            told += violations(schema["items"], entry)
    return told


def check(obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    version = crdgen.definition(BY_KIND[obj["kind"]])["spec"]["versions"][0]
    return violations(version["schema"]["openAPIV3Schema"], obj, old)


def mdep(wanted: dict[str, Any], name: str = "dictation") -> dict[str, Any]:
    return {"kind": "ModelDeployment", "metadata": {"name": name}, "spec": wanted}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The usual spec with one field replaced, or removed if the value is None."""
    wanted = spec()
    at: Any = wanted
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps:
        at = at[step]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return wanted


def test_the_usual_spec_breaks_nothing() -> None:
    assert check(mdep(spec()), mdep(spec())) == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("traffic.primary", "nobody", "traffic.primary must be the name of one of spec.backends"),
        ("traffic.spill.backend", "nobody", "must be the name of a vendor backend"),
        ("traffic.spill.backend", "inhouse", "must be the name of a vendor backend"),
        ("traffic.primary", "openai", "must be another backend than traffic.primary"),
        ("traffic.requestTimeout", "2h", "requestTimeout must be between 1s and 1h"),
        ("traffic.requestTimeout", "10ms", "requestTimeout must be between 1s and 1h"),
        ("backends.1.vendor", None, "exactly one of the two"),
        ("backends.1.inHouse", {"model": "m"}, "exactly one of the two"),
    ],
)
def test_each_rule_fires(path: str, value: Any, words: str) -> None:
    told = check(mdep(changed(path, value)))
    assert any(words in message for message in told), told


def test_a_vendor_is_used_by_one_backend_only() -> None:
    wanted = spec()
    wanted["backends"].append({"name": "second", "vendor": {"name": "openai", "model": "other"}})
    assert check(mdep(wanted)) == [
        "two backends use the same Vendor: each Vendor may be used by one backend of a ModelDeployment"
    ]


def test_modality_is_immutable() -> None:
    old = mdep(spec())
    told = check(mdep({**spec(), "modality": "Speech"}), old)
    assert told == ["modality cannot be changed: clients depend on it; create another ModelDeployment instead"]


@pytest.mark.parametrize(
    ("name", "ok"), [("a", True), ("a" * 63, True), ("a" * 64, False), ("1a", False), ("a.b", False), ("a-", False)]
)
def test_names_fit_where_they_are_used(name: str, ok: bool) -> None:
    assert (check(mdep(spec(), name)) == []) is ok


def test_a_vendors_endpoint_has_no_slash_at_its_end() -> None:
    assert check(vendor_object()) == []
    assert "must not end with '/'" in check(vendor_object(endpoint="https://api.openai.com/v1/"))[0]


AZURE = "https://acme.openai.azure.com"
VENDORS = [
    ({"dialect": "OpenAICompatible", "endpoint": "https://api.groq.com/openai/v1"}, ""),
    ({"dialect": "AzureOpenAI", "endpoint": AZURE, "apiVersion": "2024-10-21"}, ""),
    ({"dialect": "AzureOpenAI", "endpoint": AZURE, "apiVersion": "v1"}, ""),
    ({"dialect": "AzureOpenAI", "endpoint": AZURE, "apiVersion": "2025-04-01-preview"}, ""),
    ({"dialect": "AzureSpeech", "endpoint": "http://127.0.0.1:8080"}, ""),
    ({"dialect": "AzureSpeech", "endpoint": AZURE, "apiVersion": "2025-10-15"}, ""),
    ({"dialect": "AzureImages", "endpoint": AZURE}, ""),
    ({"dialect": "AzureOpenAI", "endpoint": AZURE}, "dialect AzureOpenAI needs"),
    ({"dialect": "AzureOpenAI", "endpoint": f"{AZURE}/openai", "apiVersion": "v1"}, "scheme and host alone"),
    ({"dialect": "AzureImages", "endpoint": f"{AZURE}/mai/v1"}, "scheme and host alone"),
    ({"dialect": "AzureSpeech", "endpoint": AZURE, "apiVersion": "preview"}, "leave it out"),
    ({"dialect": "AzureImages", "endpoint": AZURE, "apiVersion": "2024-10-21"}, "leave it out"),
    ({"apiVersion": "2024-10-21"}, "leave it out"),
]


@pytest.mark.parametrize(("vendor", "words"), VENDORS)
def test_an_azure_vendor_has_a_host_and_where_it_needs_one_a_version(vendor: dict[str, Any], words: str) -> None:
    told = check(vendor_object(**vendor))
    assert len(told) == bool(words), told
    assert not words or words in told[0]
    assert words in broken_rule(vendor_spec(**vendor))
    assert bool(broken_rule(vendor_spec(**vendor))) is bool(words)


@pytest.mark.parametrize("version", ["", "V1", "2024-10-21-beta", "24-10-21", "v1/../x", "2024-10-21?a=b", "v1 "])
def test_a_version_is_a_date_or_a_word(version: str) -> None:
    with pytest.raises(ValidationError, match="apiVersion"):
        vendor_spec(dialect="AzureOpenAI", endpoint=AZURE, apiVersion=version)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"uri": "https://me:s3cret@example.com/m.bin"}, "use the backend's sourceCredentials"),
        ({"uri": "https://token@example.com/m.bin"}, "use the backend's sourceCredentials"),
        ({"uri": "pvc://claim/m", "files": [{"path": "m.bin"}]}, "files are of an hf://, https://, s3:// or gs://"),
        ({"uri": "s3://key:s3cret@bucket/m"}, "a bucket's uri is s3://<bucket>/<key>"),
        ({"uri": "gs://Bucket/m"}, "a bucket's uri is"),
        ({"uri": "s3://bucket.example/a/"}, ""),
        ({"uri": "gs://bucket/a", "files": [{"path": "m.bin"}]}, ""),
        ({"uri": "https://example.com/@me/m.bin"}, ""),
        ({"uri": "https://example.com/m", "files": [{"path": "m.bin"}]}, ""),
        ({"uri": "pvc://claim/m", "files": []}, ""),
    ],
)
def test_a_source_keeps_no_secret_and_files_only_where_they_are_fetched(source: dict[str, Any], words: str) -> None:
    model = {"kind": "CatalogModel", "metadata": {"name": "m"}, "spec": {"sources": [{"runtime": "r", **source}]}}
    told = check(model)
    assert len(told) == bool(words)
    assert not words or words in told[0]


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "a/../b", ".hidden", "a/", "a b", "$(X)", ""])
def test_a_files_path_cannot_leave_its_folder(path: str) -> None:
    schema = crdgen.definition(BY_KIND["CatalogModel"])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    pattern = schema["properties"]["spec"]["properties"]["sources"]["items"]["properties"]["files"]["items"][
        "properties"
    ]["path"]["pattern"]
    assert re.search(pattern, path) is None
    assert re.search(pattern, "onnx/model-q4_k.gguf")


def test_a_change_of_anything_else_is_allowed() -> None:
    wanted = yaml.safe_load(yaml.safe_dump(spec(replicas=5)))
    wanted["traffic"]["spill"]["dailyLimit"] = "7.5"
    assert check(mdep(wanted), mdep(spec())) == []


PEM = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"


def vendor_spec(**changes: Any) -> VendorSpec:
    return VendorSpec.model_validate(vendor_object(**changes)["spec"])


def test_a_vendors_proxy_names_no_credentials_in_its_url() -> None:
    assert vendor_spec(proxy={"url": "http://proxy.example:3128"}).proxy
    for url in ("http://user:pass@proxy:3128", "socks5://proxy:3128", "proxy:3128", "http://proxy:3128/path"):
        with pytest.raises(ValidationError, match="should match pattern"):
            vendor_spec(proxy={"url": url})


def test_a_vendors_ca_bundle_comes_from_one_place() -> None:
    for bundle in ({"inline": PEM}, {"configMapRef": {"name": "corp-ca"}}):
        assert check(vendor_object(caBundle=bundle)) == []
        assert broken_rule(vendor_spec(caBundle=bundle)) == ""
    for bundle in ({}, {"inline": PEM, "configMapRef": {"name": "corp-ca"}}):
        assert check(vendor_object(caBundle=bundle)) == ["set exactly one of inline and configMapRef"]
        assert broken_rule(vendor_spec(caBundle=bundle)).startswith("spec.caBundle: ")
    with pytest.raises(ValidationError, match="should match pattern"):
        vendor_spec(caBundle={"inline": "/etc/ssl/ca.crt"})
