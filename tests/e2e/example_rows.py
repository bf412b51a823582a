"""The rows of the examples' table: each one's manifest, the OpenAI SDK's call by either route, and what is counted."""

from __future__ import annotations

import base64
import copy
import io
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
import yaml
from jiwer import wer
from openai import OpenAI
from PIL import Image

from tests.e2e.installation import CLIPS, EXAMPLES, Installation, eventually

with (
    warnings.catch_warnings()
):  # its docstrings have invalid escapes, which Python warns of when it first compiles them
    warnings.simplefilter("ignore")
    from whisper_normalizer.english import EnglishTextNormalizer

SENTENCE = "The train to the city leaves at seven in the morning."
WORST_WER = 0.35
normal = EnglishTextNormalizer()
Call = Callable[[Any, Installation], str]
"""Calls one deployment by the SDK, fails unless the answer makes sense; the request's id."""


def client(installation: Installation, name: str) -> OpenAI:
    return OpenAI(base_url=installation.url(name), api_key=installation.api_key, max_retries=0, timeout=120)


def request_id(raw: Any) -> str:
    found: str = raw.headers["x-request-id"]
    return found


def hear(installation: Installation, audio: bytes) -> str:
    """By examples/transcription.yaml, in-house."""
    with client(installation, "dictation") as sdk:
        return sdk.audio.transcriptions.create(file=("a.wav", audio), model="whisper-1").text


def transcribe(sdk: Any, _: Installation) -> str:
    raw = sdk.audio.transcriptions.with_raw_response.create(file=CLIPS[0], model="whisper-1")
    # The emulator's engine is pocketsphinx, which hears far worse than Whisper.
    assert wer(normal(CLIPS[0].with_suffix(".txt").read_text()), normal(raw.parse().text)) < 0.9
    return request_id(raw)


def speak(voice: str) -> Call:
    def call(sdk: Any, installation: Installation) -> str:
        create = sdk.audio.speech.with_raw_response.create
        raw = create(model="tts-1", voice=voice, input=SENTENCE, response_format="wav")
        heard = hear(installation, raw.content)
        assert wer(normal(SENTENCE), normal(heard)) <= WORST_WER, heard
        return request_id(raw)

    return call


def draw(width: int, height: int, **asked: str) -> Call:
    def call(sdk: Any, _: Installation) -> str:
        raw = sdk.images.with_raw_response.generate(
            model="gpt-image-2", prompt="a large red star on a blue background", size=f"{width}x{height}", **asked
        )
        (made,) = raw.parse().data
        with Image.open(io.BytesIO(base64.b64decode(made.b64_json))) as picture:
            assert (picture.format, picture.size) == ("PNG", (width, height))
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 1, "a picture of one colour shows nothing"
        return request_id(raw)

    return call


def complete(sdk: Any, _: Installation) -> str:
    raw = sdk.completions.with_raw_response.create(
        model="gpt-6-luna", prompt="def add(a, b):\n    return", max_tokens=12, temperature=0
    )
    assert raw.parse().choices[0].text.strip().startswith("a + b")
    return request_id(raw)


def chat(sdk: Any, _: Installation) -> str:
    raw = sdk.chat.completions.with_raw_response.create(
        model="gpt-6-luna",
        messages=[{"role": "user", "content": "Summarise: sales rose by 4 % in May, and by 6 % in June."}],
        max_tokens=24,
    )
    answer = raw.parse()
    assert answer.choices[0].message.content.strip()
    assert answer.usage.prompt_tokens > 0
    return request_id(raw)


def embed(dimensions: int) -> Call:
    def call(sdk: Any, _: Installation) -> str:
        raw = sdk.embeddings.with_raw_response.create(
            model="text-embedding-3-small", input=["A cat sleeps.", "The bill is due in May."]
        )
        for each in raw.parse().data:
            assert len(each.embedding) == dimensions
            assert math.hypot(*each.embedding) == pytest.approx(1, abs=1e-3)
        return request_id(raw)

    return call


@dataclass(frozen=True)
class Row:
    """One row of the table: its example, the calls by both routes, and what is counted."""

    example: str
    units: frozenset[str]
    """Units of which the ledger must have a measure, by either route."""
    inhouse: Call
    vendor: Call
    seller: str = "openai"
    """The emulated vendor."""
    billed: Mapping[str, str] = field(default_factory=dict)
    """Units of the seller's own bill -> ours that must agree with them."""

    @property
    def deployment(self) -> dict[str, Any]:
        """As it stands in the example."""
        (found,) = [
            each
            for each in yaml.safe_load_all((EXAMPLES / f"{self.example}.yaml").read_text())
            if each["kind"] == "ModelDeployment"
        ]
        return dict(found)

    @property
    def is_bought(self) -> bool:
        """Whether the example, as it stands, is served by the vendor."""
        spec = self.deployment["spec"]
        return any("vendor" in each for each in spec["backends"] if each["name"] == spec["traffic"]["primary"])

    @property
    def by_vendor(self) -> dict[str, Any]:
        """As somebody has it who still buys: the vendor is the primary, and nothing runs in-house."""
        if self.is_bought:
            return self.deployment
        backends = [each for each in self.deployment["spec"]["backends"] if "vendor" in each]
        return self.twin("bought", backends=backends, traffic={"primary": backends[0]["name"]})

    @property
    def moved(self) -> dict[str, Any]:
        """A bought one as it is in-house: with the traffic that its comment says to apply."""
        return {**self.deployment, "spec": {**self.deployment["spec"], "traffic": self.traffic_after_the_move}}

    @property
    def cold(self) -> dict[str, Any]:
        """Moved, but there is no node for the in-house pods."""
        moved = self.twin("cold", traffic=self.traffic_after_the_move)
        (inhouse,) = [each["inHouse"] for each in moved["spec"]["backends"] if "inHouse" in each]
        inhouse["pod"] = {"nodeSelector": {"tests.insource.dev/nowhere": "true"}}
        return moved

    @property
    def traffic_after_the_move(self) -> dict[str, Any]:
        """What the example's comment says to apply: its lines that are indented."""
        lines = (EXAMPLES / f"{self.example}.yaml").read_text().splitlines()
        told = yaml.safe_load("\n".join(line[3:] for line in lines if line.startswith("#   ")))
        assert told["traffic"]["primary"] == "inhouse"
        return dict(told["traffic"])

    def twin(self, suffix: str, **spec: Any) -> dict[str, Any]:
        """The example's ModelDeployment under another name, with these fields of `spec`."""
        found = copy.deepcopy(self.deployment)
        found["metadata"]["name"] += f"-{suffix}"
        found["spec"] |= spec
        return found


TOKENS = frozenset({"input_tokens", "output_tokens"})
SPOKEN = {"characters": "characters"}
ROWS = (
    Row("transcription", frozenset({"audio_ms"}), transcribe, transcribe),
    Row("transcription-mai", frozenset({"audio_ms"}), transcribe, transcribe, "azure-speech", {"audio_ms": "audio_ms"}),
    Row("speech", frozenset(SPOKEN), speak("alloy"), speak("alloy"), billed=SPOKEN),
    Row("speech-mai", frozenset(SPOKEN), speak("en-US-Harper"), speak("en-US-Harper"), "azure-speech", SPOKEN),
    Row(
        "image",
        frozenset({"images", "pixels"}),
        draw(1024, 1536, quality="low"),
        draw(1024, 1536, quality="low"),
        billed={"output_image_tokens": "image_tokens"},
    ),
    Row(
        "image-mai",
        frozenset({"images", "pixels"}),
        draw(1024, 1024),
        draw(1024, 1024),
        "azure-images",
        {"output_image_tokens": "image_tokens"},
    ),
    # By /v1/completions in-house; OpenAI sells none any more, and chats.
    Row("code-completion", TOKENS, complete, chat, billed={unit: unit for unit in TOKENS}),
    Row("summarisation", TOKENS, chat, chat, billed={unit: unit for unit in TOKENS}),
    Row("retrieval", frozenset({"input_tokens"}), embed(384), embed(1536), billed={"input_tokens": "input_tokens"}),
)
MAI = tuple(row for row in ROWS if row.is_bought)


def name_of(deployment: dict[str, Any]) -> str:
    return str(deployment["metadata"]["name"])


def attempts(served: Installation, request: str) -> list[dict[str, Any]]:
    """The ledger's rows of one request, once it knows how it ended and what was measured."""
    found: list[dict[str, Any]] = []

    def ended() -> bool:
        found[:] = served.ledger("/v1/attempts", namespace="voice", request_id=request)["attempts"]
        return any(row["outcome"] == "ok" and row["measured"] for row in found)

    eventually(ended, timeout_s=90, what=lambda: f"request {request} in the ledger: {found}")
    return found


def agrees_with_the_bill(served: Installation, row: Row, attempt: dict[str, Any]) -> None:
    """The seller has billed this request, once, for as many units as we have counted."""
    bill = served.emulator_meter(row.seller)["lines"]
    (line,) = [each for each in bill if each["caller_request_id"] == attempt["request_id"]]
    theirs = {item["unit"]: item["quantity"] for item in line["items"]}
    ours = attempt["measured"] | attempt["billed"]
    assert {unit: theirs[unit] for unit in row.billed} == {unit: ours[unit_] for unit, unit_ in row.billed.items()}
    if set(theirs) == set(row.billed):
        assert sum(Decimal(charge["amount"]) for charge in attempt["charges"]) == Decimal(line["usd"])
