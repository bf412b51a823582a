"""Built-in objects as Go decodes and writes them. The values in the tables were taken from Go itself."""

from __future__ import annotations

from typing import Any

import pytest

from insource.local.builtin_types import struct_of
from insource.local.go_objects import decoded, written
from insource.local.go_times import MICROSECONDS, SECONDS, UnreadableTimeError, rewritten
from insource.local.quantities import canonical
from insource.local.store_errors import UndecodableError


def secret(text: str) -> str:
    """What becomes of one value of a Secret, or why it is refused."""
    try:
        found = decoded({"data": {"k": text}}, None, struct_of("", "Secret"), [])
    except UndecodableError as error:
        return str(error)
    return str(found["data"]["k"])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("not base64!", 3), ("a", 0), ("abc", 0), ("abcde", 4), ("ab=", 3), ("ab=c", 2), ("abc=d", 4), ("a===", 1),
        ("ab==cd", 4), ("abcd=", 4), ("=", 0), ("a0AB1+=1b", 6),
    ],
)  # fmt: skip
def test_where_base64_is_broken(text: str, place: int) -> None:
    assert secret(text) == f"illegal base64 data at input byte {place}"


@pytest.mark.parametrize("text", ["", "abcd", "ab==", "abc=", "ab\ncd"])
def test_base64_that_is_not(text: str) -> None:
    assert secret(text) == text.replace("\n", "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("soon", 'parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse "soon" as "2006"'),
        ("2026-01-01", 'parsing time "2026-01-01" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T"'),
        ("2026-13-01T00:00:00Z", 'parsing time "2026-13-01T00:00:00Z": month out of range'),
        ("2026-02-30T00:00:00Z", 'parsing time "2026-02-30T00:00:00Z": day out of range'),
        ("2026-01-01T00:00:00Zx", 'parsing time "2026-01-01T00:00:00Zx": extra text: "x"'),
    ],
)
def test_a_time_that_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(UnreadableTimeError) as refused:
        rewritten(text, SECONDS)
    assert str(refused.value) == said


def test_times_are_written_in_utc() -> None:
    assert rewritten("2026-01-01T00:30:00.75+02:00", SECONDS) == "2025-12-31T22:30:00Z"
    assert rewritten("2026-01-01T00:00:00.123456+01:00", MICROSECONDS) == "2025-12-31T23:00:00.123456Z"


@pytest.mark.parametrize(
    ("text", "written_as"),
    [
        ("0.5", "500m"), ("1024Mi", "1Gi"), ("1000", "1k"), ("1500", "1500"), ("1.5Gi", "1536Mi"), ("0.5Ki", "512"),
        ("1000m", "1"), ("0.1234", "123400u"), ("1e3", "1e3"), ("0", "0"), ("-0.5", "-500m"), ("0.1n", "1n"),
    ],
)  # fmt: skip
def test_quantities(text: str, written_as: str) -> None:
    assert canonical(text) == written_as


def deployment(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"replicas": "two"}, "string into Go struct field DeploymentSpec.spec.replicas of type int32"),
        ({"replicas": 1.5}, "number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32"),
        ({"replicas": 2**40}, f"number {2**40} into Go struct field DeploymentSpec.spec.replicas of type int32"),
        ({"paused": "yes"}, "string into Go struct field DeploymentSpec.spec.paused of type bool"),
        ({"template": []}, "array into Go struct field DeploymentSpec.spec.template of type v1.PodTemplateSpec"),
        (
            {"template": {"spec": {"containers": {}}}},
            "object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            {"template": {"spec": {"containers": [{"imagePullPolicy": 1}]}}},
            "number into Go struct field Container.spec.template.spec.containers.imagePullPolicy of type v1.PullPolicy",
        ),
    ],
)
def test_what_go_cannot_decode(spec: Any, said: str) -> None:
    with pytest.raises(UndecodableError) as refused:
        decoded(deployment(**spec), None, struct_of("apps", "Deployment"), [])
    assert str(refused.value) == f"json: cannot unmarshal {said}"


def test_what_was_stored_so_is_not_judged_again() -> None:
    """An older version of ours may have taken it."""
    old = deployment(replicas="two")
    assert decoded(old, old, struct_of("apps", "Deployment"), [])["spec"] == {"replicas": "two"}


def test_unknown_fields_are_named_with_their_place_and_left_out() -> None:
    unknown: list[str] = []
    sent = deployment(bogus=1, template={"spec": {"containers": [{"name": "c", "imagee": "x"}]}})
    found = decoded(sent, None, struct_of("apps", "Deployment"), unknown)
    assert unknown == ["spec.bogus", "spec.template.spec.containers[0].imagee"]
    assert found["spec"] == {"template": {"spec": {"containers": [{"name": "c"}]}}}


def test_null_is_nothing_in_a_struct_and_empty_in_a_map() -> None:
    found = decoded({"data": {"a": None}, "immutable": None}, None, struct_of("", "ConfigMap"), [])
    assert found == {"data": {"a": ""}}


def test_what_go_writes_of_empty_fields() -> None:
    """Structs always, what is not to be left out as nothing, pointers as they are, the rest not at all."""
    sent = deployment(replicas=0, minReadySeconds=0, paused=False, selector=None, template={"spec": {"containers": []}})
    shown = written(sent, None, struct_of("apps", "Deployment"))
    assert list(shown) == ["kind", "apiVersion", "metadata", "spec", "status"]
    assert shown["spec"] == {
        "replicas": 0,
        "selector": None,
        "template": {"metadata": {}, "spec": {"containers": None}},
        "strategy": {},
    }
    assert shown["status"] == {}


def test_times_that_nobody_set_are_null() -> None:
    shown = written({"metadata": {"name": "e"}, "involvedObject": {}}, None, struct_of("", "Event"))
    assert (shown["firstTimestamp"], shown["eventTime"], shown["source"]) == (None, None, {})
    assert "creationTimestamp" not in shown["metadata"]


def test_what_was_written_before_is_taken_from_there() -> None:
    of = struct_of("apps", "Deployment")
    before = written(deployment(replicas=1), None, of)
    after = written({**deployment(replicas=1), "metadata": {"name": "d", "labels": {"a": "b"}}}, before, of)
    assert after["spec"] is before["spec"] or after["spec"] == before["spec"]
    assert after["metadata"] == {"name": "d", "labels": {"a": "b"}}
