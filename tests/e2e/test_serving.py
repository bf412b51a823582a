"""The whole path: kubectl apply, a real recogniser, the OpenAI SDK, usage and cost in the ledger."""

from __future__ import annotations

import json
import warnings
import wave
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from jiwer import wer
from openai import OpenAI

from tests.audio import ENCODINGS, Encoding, encode, with_false_duration
from tests.e2e.installation import CLIPS, EXAMPLES, Installation, eventually

with (
    warnings.catch_warnings()
):  # its docstrings have invalid escapes, which Python warns of when it first compiles them
    warnings.simplefilter("ignore")
    from whisper_normalizer.english import EnglishTextNormalizer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.xdist_group("e2e-serving")]


@pytest.fixture(scope="module")
def served(installation: Installation) -> Installation:
    installation.kubectl("apply", "-f", str(EXAMPLES / "transcription.yaml"))
    installation.wait_ready("dictation")
    return installation


@pytest.fixture(scope="module")
def client(served: Installation) -> Any:
    with OpenAI(base_url=served.url("dictation"), api_key=served.api_key, max_retries=0) as sdk:
        yield sdk


def duration_ms(clip: Path) -> float:
    with wave.open(str(clip)) as audio:
        return audio.getnframes() * 1000 / audio.getframerate()


def measured_ms(served: Installation, request_id: str) -> int:
    """What the ledger has for one request; waits for the record to arrive."""
    found: list[int] = []

    def arrived() -> bool:
        rows = served.ledger("/v1/attempts", namespace="voice", request_id=request_id)["attempts"]
        found[:] = [int(row["measured"]["audio_ms"]) for row in rows if row["outcome"] == "ok"]
        return bool(found)

    eventually(arrived, timeout_s=90, what=f"request {request_id} is not in the ledger")
    assert len(found) == 1
    return found[0]


def test_kubectl_prints_the_columns(served: Installation) -> None:
    lines = served.kubectl("get", "mdep").stdout.splitlines()
    assert lines[0].split() == ["NAME", "MODALITY", "READY", "PRIMARY", "REPLICAS", "REASON", "AGE"]
    assert lines[1].split()[:5] == ["dictation", "Transcription", "True", "inhouse", "1"]


def test_mean_word_error_rate_on_the_five_clips_is_at_most_ten_percent(client: Any) -> None:
    normalise = EnglishTextNormalizer()
    rates = []
    for clip in CLIPS:
        with clip.open("rb") as audio:
            text = client.audio.transcriptions.create(file=audio, model="whisper-1").text
        rates.append(wer(normalise(clip.with_suffix(".txt").read_text()), normalise(text)))
    assert len(rates) == 5
    assert fmean(rates) <= 0.10, rates


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.stem[-4:])
def test_ledger_has_the_clips_duration(served: Installation, client: Any, clip: Path, encoding: Encoding) -> None:
    raw = client.audio.transcriptions.with_raw_response.create(
        file=(f"clip.{encoding}", encode(clip.read_bytes(), encoding)), model="whisper-1"
    )
    assert measured_ms(served, raw.headers["x-request-id"]) == pytest.approx(duration_ms(clip), rel=0.01)


@pytest.mark.parametrize(
    ("encoding", "seconds"),
    [(encoding, 3600.0) for encoding in ENCODINGS]
    # In WAV and Ogg a claim below the truth is no lie: it ends the audio there for every decoder.
    + [(encoding, 0.5) for encoding in ENCODINGS if encoding not in ("wav", "ogg")],
)
def test_a_false_duration_in_the_header_changes_nothing(
    served: Installation, client: Any, encoding: Encoding, seconds: float
) -> None:
    audio = with_false_duration(encode(CLIPS[1].read_bytes(), encoding), encoding, seconds)
    raw = client.audio.transcriptions.with_raw_response.create(file=(f"clip.{encoding}", audio), model="whisper-1")
    assert measured_ms(served, raw.headers["x-request-id"]) == pytest.approx(duration_ms(CLIPS[1]), rel=0.01)


def test_formats_and_streaming_through_the_gateway(client: Any) -> None:
    audio = ("clip.wav", CLIPS[1].read_bytes())
    create = client.audio.transcriptions.create
    assert create(file=audio, model="whisper-1", response_format="srt").startswith("1\n00:00:0")
    assert create(file=audio, model="whisper-1", response_format="vtt").startswith("WEBVTT")
    assert "young man" in create(file=audio, model="whisper-1", response_format="text").lower()
    verbose = create(
        file=audio, model="whisper-1", response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert verbose.words
    assert verbose.words[0].start < verbose.words[-1].end
    events = list(create(file=audio, model="whisper-1", stream=True))
    assert events[-1].type == "transcript.text.done"
    assert "".join(e.delta for e in events if e.type == "transcript.text.delta").strip() == events[-1].text.strip()


def test_cost_shows_units_and_prices(served: Installation) -> None:
    printed = served.command("cost").stdout
    assert "dictation" in printed
    assert "inhouse" in printed
    assert "\x1b[" not in printed


def test_the_vendor_is_asked_until_when_it_serves_the_model(served: Installation) -> None:
    """By the adapter, with the real key; told in the Vendor's status, by `insource status`, and to nobody's harm."""

    def told() -> dict[str, Any]:
        models: list[dict[str, Any]] = served.get("vendor", "openai").get("status", {}).get("models", [])
        return next((model for model in models if model["id"] == "whisper-1"), {})

    eventually(lambda: "listed" in told(), timeout_s=60, what=lambda: f"the vendor's list is not known: {told()}")
    day = date(2027, 2, 26)  # the emulator's
    assert told() == {
        "id": "whisper-1", "inUse": True, "listed": True, "shutdownDate": day.isoformat(), "source": "Vendor"
    }  # fmt: skip
    conditions = {item["type"]: item for item in served.get("vendor", "openai")["status"]["conditions"]}
    left = (day - datetime.now(UTC).date()).days
    reason = "ShutDown" if left <= 0 else "ShuttingDown" if left <= 90 else "Offered"
    assert conditions["ModelsOffered"]["reason"] == reason
    assert conditions["Ready"]["status"] == "True"
    (row,) = json.loads(served.command("status", "--json").stdout)
    assert [reason in warning for warning in row["warnings"]] == ([True] if left <= 90 else [])
    paths = [line["path"] for line in served.emulator_meter()["lines"]]
    assert "/v1/models" not in paths
