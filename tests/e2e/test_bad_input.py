"""Bad input: status, type and `param` of every refusal, and serving goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.e2e.installation import (
    CLIPS,
    Installation,
    deployment,
    eventually,
    stub_model,
    stub_runtime,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.xdist_group("e2e-bad-input")]
AUDIO = CLIPS[1].read_bytes()


@pytest.fixture(scope="module")
def served(installation: Installation) -> Installation:
    installation.apply(stub_runtime(), stub_model(), deployment("dictation"))
    installation.wait_ready("dictation")
    return installation


@pytest.fixture(autouse=True)
def serving_goes_on(served: Installation) -> Iterator[None]:
    yield
    answer = served.post("dictation", audio=AUDIO)
    assert answer.status_code == 200, answer.text


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


@pytest.mark.parametrize(
    ("audio", "fields", "param"),
    [
        (b"this is not audio at all" * 50, {}, "file"),
        (b"", {}, "file"),
        (AUDIO[:30], {}, "file"),
        (AUDIO, {"response_format": "diarized_json"}, "response_format"),
        (AUDIO, {"response_format": "yaml"}, "response_format"),
        (AUDIO, {"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        (AUDIO, {"temperature": "warm"}, "temperature"),
        (AUDIO, {"beam_size": "5"}, "beam_size"),
    ],
    ids=["not-audio", "empty", "truncated", "diarized", "format", "granularities", "temperature", "unknown"],
)
def test_wrong_requests_are_400_and_name_the_parameter(
    served: Installation, audio: bytes, fields: dict[str, str], param: str
) -> None:
    answer = served.post("dictation", audio=audio, fields=fields)
    assert answer.status_code == 400, answer.text
    error = error_of(answer)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


def test_a_body_above_the_limit_is_413(served: Installation) -> None:
    answer = served.post("dictation", audio=b"\0" * (40 * 1024 * 1024))
    assert answer.status_code == 413
    assert error_of(answer)["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/audio/nonsense", "/audio/speech"])
def test_a_wrong_path_is_404(served: Installation, path: str) -> None:
    answer = served.post("dictation", audio=AUDIO, path=path)
    assert answer.status_code == 404
    assert error_of(answer)["type"] == "invalid_request_error"


def test_an_unknown_deployment_is_404(served: Installation) -> None:
    answer = served.post("nobody", audio=AUDIO)
    assert answer.status_code == 404
    error_of(answer)


@pytest.mark.parametrize("key", ["", "sk-wrong"])
def test_no_key_or_a_wrong_one_is_401(served: Installation, key: str) -> None:
    answer = served.post("dictation", audio=AUDIO, key=key)
    assert answer.status_code == 401
    assert error_of(answer)["code"] == "invalid_api_key"
    assert "sk-wrong" not in answer.text


def test_a_client_of_another_namespace_is_403(served: Installation) -> None:
    served.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {
                "name": "client-stranger",
                "namespace": "insource-system",
                "labels": {"insource.dev/client": "stranger"},
                "annotations": {"insource.dev/namespaces": "elsewhere"},
            },
            "stringData": {"key": "sk-stranger"},
        }
    )
    eventually(
        lambda: served.post("dictation", audio=AUDIO, key="sk-stranger").status_code == 403,
        timeout_s=90,
        what="the stranger is not refused with 403",
    )
    error_of(served.post("dictation", audio=AUDIO, key="sk-stranger"))


def test_forged_headers_have_no_effect(served: Installation) -> None:
    forged = {
        "x-insource-client": "root",
        "x-insource-deployment": "other",
        "x-insource-namespace": "other",
        "x-insource-hop": "hold",
        "x-insource-gateway-token": "0" * 64,
        "x-request-id": "forged",
        "x-envoy-attempt-count": "9",
    }
    answer = served.post("dictation", audio=AUDIO, headers=forged)
    assert answer.status_code == 200
    assert "x-insource-outcome" not in answer.headers
    request_id = answer.headers["x-request-id"]
    assert request_id != "forged"

    def row() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = served.ledger("/v1/attempts", namespace="voice", request_id=request_id)[
            "attempts"
        ]
        return found

    eventually(lambda: len(row()) == 1, timeout_s=90, what="no row in the ledger")
    assert row()[0]["client"] == "example-app"
    assert row()[0]["deployment"] == "dictation"
    assert row()[0]["attempt_id"].endswith(".0.1")


def test_adapter_and_ledger_refuse_who_comes_without_their_token(served: Installation) -> None:
    pod = served.get("pods", "-l", "insource.dev/deployment=dictation")["items"][0]
    address = pod["status"]["podIP"]
    for token in ({}, {"x-insource-gateway-token": "0" * 64}):
        answer = httpx.post(
            f"http://{address}:8101/v1/audio/transcriptions",
            headers=token,
            files={"file": ("a.wav", AUDIO)},
            data={"model": "m"},
        )
        assert answer.status_code == 401
        error_of(answer)
    ledger = served.state["ledger_url"]
    wrong_audience = served.kubectl("create", "token", "insource-adapter", "-n", "voice", "--audience", "else").stdout
    adapters = served.kubectl(
        "create", "token", "insource-adapter", "-n", "voice", "--audience", "insource-ledger"
    ).stdout
    for token, status in (("", 401), ("nonsense", 401), (wrong_audience.strip(), 401)):
        for path in ("/v1/records", "/v1/sightings"):
            sent = {"Authorization": f"Bearer {token}"} if token else {}
            answer = httpx.post(ledger + path, json={"records": []}, headers=sent)
            assert answer.status_code == status, path
            error_of(answer)
    answer = httpx.post(
        f"{ledger}/v1/sightings", json={"sightings": []}, headers={"Authorization": f"Bearer {adapters.strip()}"}
    )
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modality": "Song"}, "Unsupported value"),
        ({"traffic": {"primary": "nobody"}}, "primary"),
        ({"traffic": {"primary": "inhouse", "spill": {"backend": "inhouse"}}}, "spill"),
        ({"replicas": -1}, "replicas"),
    ],
)
def test_an_invalid_spec_is_refused_and_the_old_one_stays(
    served: Installation, change: dict[str, Any], message: str
) -> None:
    before = served.get("mdep", "dictation")["spec"]
    changed = deployment("dictation")
    changed["spec"].update(change)
    import json

    done = served.kubectl("apply", "-f", "-", stdin=json.dumps(changed), check=False)
    assert done.returncode != 0
    assert message in done.stderr
    assert served.get("mdep", "dictation")["spec"] == before


@pytest.mark.parametrize(
    ("name", "backend", "missing"),
    [
        ("no-model", {"inHouse": {"model": "lost-model", "accelerator": {"class": "cpu"}}}, "lost-model"),
        ("no-runtime", {"inHouse": {"model": "stub-model", "runtime": "lost-runtime"}}, "lost-runtime"),
        ("no-class", {"inHouse": {"model": "stub-model", "accelerator": {"class": "lost-class"}}}, "lost-class"),
        ("no-vendor", {"vendor": {"name": "lost-vendor", "model": "whisper-1"}}, "lost-vendor"),
    ],
)
def test_a_missing_reference_is_named(served: Installation, name: str, backend: dict[str, Any], missing: str) -> None:
    broken = deployment(name, spill=False)
    broken["spec"]["backends"] = [{"name": "inhouse", **backend}]
    served.apply(broken)
    eventually(
        lambda: served.condition(name, "Stalled").get("status") == "True", timeout_s=90, what=f"{name} is not Stalled"
    )
    assert missing in served.condition(name, "Stalled")["message"]
    assert served.condition(name, "Ready")["status"] == "False"


def test_a_missing_model_heals_when_it_appears(served: Installation) -> None:
    late = deployment("late", model="late-model", spill=False)
    late["spec"]["backends"] = late["spec"]["backends"][:1]
    served.apply(late)
    eventually(lambda: served.condition("late", "Stalled").get("status") == "True", timeout_s=90, what="not Stalled")
    model = stub_model()
    model["metadata"]["name"] = "late-model"
    served.apply(model)
    served.wait_ready("late")
    assert served.condition("late", "Stalled") == {}
    served.kubectl("delete", "mdep", "late")


def test_a_missing_vendor_secret_is_named_and_heals(served: Installation) -> None:
    served.apply(
        {
            "apiVersion": "insource.dev/v1alpha1",
            "kind": "Vendor",
            "metadata": {"name": "keyless", "namespace": "voice"},
            "spec": {
                "dialect": "OpenAI",
                "endpoint": f"{served.state['emulator_urls']['openai']}/v1",
                "credentials": {"secretRef": {"name": "lost-secret", "key": "key"}},
            },
        }
    )
    vendor_only = deployment("keyless", spill=False)
    vendor_only["spec"]["backends"] = [{"name": "inhouse", "vendor": {"name": "keyless", "model": "whisper-1"}}]
    served.apply(vendor_only)
    eventually(
        lambda: "lost-secret" in served.condition("keyless", "Stalled").get("message", ""),
        timeout_s=90,
        what=lambda: f"{served.get('mdep', 'keyless').get('status')}",
    )
    key = (served.data / "credentials" / "openai-key").read_text().strip()
    served.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "stringData": {"key": key},
            "metadata": {"name": "lost-secret", "namespace": "voice"},
        }
    )
    served.wait_ready("keyless")
    served.kubectl("delete", "mdep", "keyless")
