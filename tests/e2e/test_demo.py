"""`make demo` shows what it promises, ends with status 0 only then, and leaves nothing running."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.installation import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.models, pytest.mark.timeout(300), pytest.mark.xdist_group("e2e-demo")]


def test_the_demo(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "demo")
    done = installation.command("demo", "--data", str(installation.data), timeout_s=280)
    told = json.loads((installation.data / "demo.json").read_text())
    assert told["mean_wer"] <= 0.10
    assert [(each["role"], each["outcome"]) for each in told["failover"]["attempts"]] == [
        ("serve", "server"),
        ("rescue", "server"),
        ("spill", "ok"),
    ]
    assert told["healing"]["answered_by"] == "inhouse"
    assert "saved" in done.stdout
    assert told["speech"]["wer"] <= 0.35
    with wave.open(told["speech"]["file"]) as spoken:
        assert spoken.getnframes() / spoken.getframerate() == pytest.approx(told["speech"]["audio_s"], abs=0.01)
    assert "▇" in done.stdout, "no waveform"
    for picture in told["pictures"]:
        with Image.open(picture["file"]) as png:
            assert (png.format, png.size) == ("PNG", (512, 512))
    assert "▀" not in done.stdout, "half blocks where nobody sees colours"
    assert told["completion"]["text"].strip()
    assert told["retrieval"]["ranked"][0]["sentence"].startswith("Departures")
    bought = {each["work"]: each for each in told["vendors"]}
    assert {work: (each["vendor"], each["role"]) for work, each in bought.items()} == {
        "transcription": ("azure-speech", "serve"),
        "speech": ("azure-speech", "serve"),
        "pictures": ("azure-images", "serve"),
        "text": ("openai", "serve"),
        "retrieval": ("openai", "serve"),
    }
    for work, each in bought.items():
        assert sum(float(charge["amount"]) for charge in each["charges"]) > 0, work
    counted = {row["deployment"]: set(row["work"]) for row in told["cost"]["rows"] if row["backend"] == "inhouse"}
    assert counted["dictation"] == {"audio_ms"}
    assert counted["narration"] == {"characters"}
    assert {"images", "pixels", "pixel_steps"} <= counted["pictures"]
    assert counted["code"] == {"input_tokens", "output_tokens"}
    assert counted["retrieval"] == {"input_tokens"}
    assert not (installation.data / "state.json").exists()
