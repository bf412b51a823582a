"""Kubernetes protobuf bodies, written here by the numbers of k8s.io/api's generated.proto and read by the server."""

from __future__ import annotations

from typing import Any

import pytest

from insource.local.apiserver_protobuf import MAGIC, bytes_field, decode, number_field
from insource.local.store_errors import ApiError


def envelope(api_version: str, kind: str, body: bytes) -> bytes:
    type_meta = bytes_field(1, api_version) + bytes_field(2, kind)
    return MAGIC + bytes_field(1, type_meta) + bytes_field(2, body) + bytes_field(3, "") + bytes_field(4, "")


def entry(number: int, key: str, value: bytes | str) -> bytes:
    return bytes_field(number, bytes_field(1, key) + bytes_field(2, value))


def test_a_deployment() -> None:
    quantity = bytes_field(1, "500m")
    either = number_field(1, 1) + bytes_field(3, "http")
    probe = bytes_field(1, bytes_field(2, bytes_field(1, "/ready") + bytes_field(2, either)))
    container = (
        bytes_field(1, "c") + bytes_field(2, "i:1") + bytes_field(8, entry(1, "cpu", quantity)) + bytes_field(11, probe)
    )
    volume = bytes_field(1, "v") + bytes_field(2, bytes_field(2, bytes_field(1, "Memory")))
    pod_spec = bytes_field(1, volume) + bytes_field(2, container)
    template = bytes_field(1, entry(11, "a", "b")) + bytes_field(2, pod_spec)
    # replicas is a pointer: its zero counts; minReadySeconds is not: its zero is nothing.
    spec = number_field(1, 0) + bytes_field(2, entry(1, "a", "b")) + bytes_field(3, template) + number_field(5, 0)
    body = bytes_field(1, bytes_field(1, "d")) + bytes_field(2, spec)
    found = decode(envelope("apps/v1", "Deployment", body))
    assert (found["apiVersion"], found["kind"], found["metadata"]) == ("apps/v1", "Deployment", {"name": "d"})
    assert found["spec"]["replicas"] == 0
    assert "minReadySeconds" not in found["spec"]
    assert found["spec"]["selector"] == {"matchLabels": {"a": "b"}}
    pod: dict[str, Any] = found["spec"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "v", "emptyDir": {"medium": "Memory"}}]
    (made,) = pod["containers"]
    assert made["resources"] == {"limits": {"cpu": "500m"}}
    assert made["readinessProbe"] == {"httpGet": {"path": "/ready", "port": "http"}}


def test_numbers_bytes_and_times() -> None:
    metadata = bytes_field(1, "s") + bytes_field(8, number_field(1, 1_700_000_000))
    body = bytes_field(1, metadata) + entry(2, "k", b"\xff") + number_field(5, 1)
    found = decode(envelope("v1", "Secret", body))
    assert found["metadata"]["creationTimestamp"] == "2023-11-14T22:13:20Z"
    assert found["data"] == {"k": "/w=="}
    assert found["immutable"] is True


def test_what_writes_itself() -> None:
    entry_ = bytes_field(1, "m") + bytes_field(7, bytes_field(1, b'{"f:data":{}}'))
    found = decode(envelope("v1", "ConfigMap", bytes_field(1, bytes_field(17, entry_))))
    assert found["metadata"]["managedFields"] == [{"manager": "m", "fieldsV1": {"f:data": {}}}]


def test_a_field_of_a_newer_client_is_passed_over() -> None:
    body = bytes_field(1, bytes_field(1, "m")) + bytes_field(900, "?")
    assert decode(envelope("v1", "ConfigMap", body))["metadata"] == {"name": "m"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"no protobuf", 400),
        (MAGIC + b"\xff", 400),
        (envelope("batch/v1", "Job", b""), 415),
    ],
)
def test_what_is_refused(body: bytes, code: int) -> None:
    with pytest.raises(ApiError) as refused:
        decode(body)
    assert refused.value.code == code
