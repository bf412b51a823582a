"""What a container's program is started with."""

from __future__ import annotations

import base64
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insource.local.images import ImageTable, UnknownImageError, parse_extra_images, repository
from insource.local.pod_environment import ReferenceMissingError, environment, expand, field_value, rewrite_paths
from insource.local.pod_support import unsupported

POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "voice", "uid": "u-1", "labels": {"app": "x"}, "annotations": {"a/b": "1"}},
    "spec": {"nodeName": "n", "containers": []},
    "status": {"podIP": "127.1.2.3"},
}
OBJECTS: dict[tuple[str, str], dict[str, Any]] = {
    ("Secret", "s"): {"kind": "Secret", "data": {"key": base64.b64encode(b"hush").decode()}},
    ("ConfigMap", "c"): {"kind": "ConfigMap", "data": {"A": "1", "B": "2"}},
}


def lookup(kind: str, name: str) -> dict[str, Any] | None:
    return OBJECTS.get((kind, name))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)/x", "1/x"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("cost $5 and $", "cost $5 and $"),
        ("$(A", "$(A"),
        ("$(A)$(B)", "12"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


@given(st.text(alphabet="$()AB x", max_size=30))
def test_expansion_without_variables_only_unescapes(text: str) -> None:
    assert expand(text, {}).count("$(") >= 0
    assert len(expand(text, {})) <= len(text)
    if "$$" not in text:
        assert expand(text, {}) == text


def test_variables_in_order() -> None:
    container = {
        "envFrom": [{"prefix": "C_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "no", "optional": True}}],
        "env": [
            {"name": "EARLY", "value": "$(LATE)"},
            {"name": "LATE", "value": "$(C_A)"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "URL", "value": "http://$(IP):8000"},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
            {"name": "GONE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "Z", "optional": True}}},
        ],
    }
    assert environment(POD, container, lookup) == {
        "C_A": "1",
        "C_B": "2",
        "EARLY": "$(LATE)",
        "LATE": "1",
        "IP": "127.1.2.3",
        "URL": "http://127.1.2.3:8000",
        "KEY": "hush",
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"secretKeyRef": {"name": "no", "key": "k"}}, 'secret "no" not found'),
        ({"configMapKeyRef": {"name": "c", "key": "Z"}}, "couldn't find key Z in ConfigMap voice/c"),
        ({"fieldRef": {"fieldPath": "status.nonsense"}}, "status.nonsense"),
    ],
)
def test_what_is_missing_is_named(source: dict[str, Any], message: str) -> None:
    with pytest.raises(ReferenceMissingError, match=message):
        environment(POD, {"env": [{"name": "X", "valueFrom": source}]}, lookup)


def test_fields() -> None:
    assert field_value(POD, "metadata.labels['app']") == "x"
    assert field_value(POD, "metadata.annotations['a/b']") == "1"
    assert field_value(POD, "metadata.labels") == 'app="x"'
    assert field_value(POD, "metadata.uid") == "u-1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data", "/p/d"),
        ("--dir=/data/x", "--dir=/p/d/x"),
        ("/database", "/database"),
        ("/x/data", "/x/data"),
        ("file:///data/a", "file:///p/d/a"),
        ("http://data/a", "http://data/a"),
        ("/data/inner/a:/data", "/p/i/a:/p/d"),
        ("/data.txt", "/data.txt"),
    ],
)
def test_mount_paths_are_rewritten_whole(text: str, expected: str) -> None:
    assert rewrite_paths(text, {"/data": "/p/d", "/data/inner/": "/p/i"}) == expected


def test_images() -> None:
    table = ImageTable({"shell:1": ("/bin/sh", "-c")})
    own = [sys.executable, "-m", "insource", "adapter"]
    assert table.argv("insource/insource:9", ["insource"], ["adapter"]) == own
    assert table.argv("ghcr.io/insource-dev/insource@sha256:00", [], ["adapter"]) == own
    assert table.argv("shell:1", ["echo hi"], []) == ["/bin/sh", "-c", "echo hi"]
    with pytest.raises(UnknownImageError, match=r"only Insource's own images.*nginx:1.*INSOURCE_LOCAL_IMAGES"):
        table.argv("nginx:1", [], [])
    assert repository("host:5000/a/b:tag") == "host:5000/a/b"
    assert parse_extra_images('{"a": ["b"]}') == {"a": ("b",)}
    with pytest.raises(ValueError, match="INSOURCE_LOCAL_IMAGES"):
        parse_extra_images('{"a": "b"}')


def test_what_the_node_cannot_do_is_named() -> None:
    spec = {
        "hostNetwork": True,
        "volumes": [{"name": "v", "hostPath": {}}, {"name": "e", "emptyDir": {}}],
        "containers": [{"name": "c", "livenessProbe": {"grpc": {"port": 1}}, "readinessProbe": {"httpGet": {}}}],
    }
    assert unsupported(spec) == ["hostNetwork", "volumes[v].hostPath", "containers[c].livenessProbe.grpc"]
