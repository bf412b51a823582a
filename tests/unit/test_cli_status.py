"""`insource status`: what it says of vendors that do not go on serving a model in use."""

from __future__ import annotations

from typing import Any

from insource.cli.status import row_of, vendor_warnings

OFFERED = {"type": "ModelsOffered", "status": "False", "reason": "ShuttingDown", "message": '"whisper-1" is shut down'}
WARNING = 'Vendor voice/openai: ShuttingDown: "whisper-1" is shut down'


def vendor(namespace: str, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": "openai"}, "status": {"conditions": list(conditions)}}


def deployment(*vendors: str) -> dict[str, Any]:
    backends: list[dict[str, Any]] = [{"name": "inhouse", "inHouse": {"model": "m"}}]
    backends += [{"name": name, "vendor": {"name": name, "model": "whisper-1"}} for name in vendors]
    spec = {"modality": "Transcription", "traffic": {"primary": "inhouse"}, "backends": backends}
    return {"metadata": {"namespace": "voice", "name": "dictation", "generation": 1}, "spec": spec}


def test_a_deployment_shows_the_warnings_of_the_vendors_that_it_names() -> None:
    ready = {"type": "Ready", "status": "True", "reason": "Available", "message": ""}
    warnings = vendor_warnings([vendor("voice", ready, OFFERED), vendor("other", {**OFFERED, "status": "True"}), {
        "metadata": {"namespace": "voice", "name": "new"}
    }])  # fmt: skip
    assert warnings == {("voice", "openai"): WARNING}
    assert row_of(deployment("openai"), "http://g", warnings)["warnings"] == [WARNING]
    assert row_of(deployment("azure"), "http://g", warnings)["warnings"] == []
    assert row_of(deployment(), "http://g", warnings)["warnings"] == []
