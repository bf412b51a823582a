"""What OpenAI's SDK may ask: our own servers over engines of the tests' own, and the emulated OpenAI."""

from __future__ import annotations

import io
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import openai
from PIL import Image

from insource.adapter.server import Adapter
from insource.env import system_env
from insource.servers.embedding import EmbeddingServer
from insource.servers.image_request import ImageRequest
from insource.servers.images import ImageServer, Painted
from insource.servers.serving import ModelServer
from insource.servers.settings import ServerSettings, StubSettings
from insource.servers.speech import SpeechServer
from insource.servers.stub import stub_server
from insource.servers.text import TextServer
from insource.wire.vocabulary import Modality
from tests.gateway.adapter_harness import (
    QUICK,
    TOKEN,
    FakeLedger,
    in_house,
    ledger_application,
    serve,
    settings_for,
    until,
    vendor,
)
from tests.gateway.emulator_harness import KEY, emulator
from tests.unit.test_embedding_server import Letters
from tests.unit.test_server_speech import Tone
from tests.unit.test_text_server import Echo

IN_HOUSE, VENDOR = "inHouse", "vendor"
MODEL = "m"
VENDORS_MODELS: dict[str, tuple[Modality, str]] = {
    "transcription": (Modality.TRANSCRIPTION, "whisper-1"),
    "transcription-by-tokens": (Modality.TRANSCRIPTION, "gpt-4o-mini-transcribe"),
    "speech": (Modality.SPEECH, "tts-1"),
    "speech-by-tokens": (Modality.SPEECH, "gpt-4o-mini-tts"),
    "image": (Modality.IMAGE, "gpt-image-2"),
    "completion": (Modality.TEXT, "gpt-3.5-turbo-instruct"),
    "chat": (Modality.TEXT, "gpt-6-luna"),
    "embedding": (Modality.EMBEDDING, "text-embedding-3-small"),
}
"""Deployment -> what it does, and with which model of the vendor's."""

CALM = replace(QUICK, probe_every_s=0.5, probe_timeout_s=60.0, stalled_after_s=60.0)
"""All servers share one loop with the tests: being slow is no fault here."""


class Plain:
    """Paints one colour."""

    def check(self, asked: ImageRequest) -> None:
        """Draws everything."""

    def paint(self, asked: ImageRequest, seed: int, left: Callable[[], bool]) -> Painted:
        del seed, left
        held = io.BytesIO()
        Image.new("RGB", (asked.width, asked.height), "red").save(held, asked.output_format)
        return Painted([held.getvalue()] * asked.n, asked.steps, text_tokens=2, image_tokens=6 * asked.n)


def servers() -> dict[Modality, ModelServer[Any]]:
    """Our own servers, as they are, over engines that are quick."""
    settings = ServerSettings(model_name=MODEL, slots=2)
    env = replace(system_env(), rng=random.Random(1))
    return {
        Modality.TRANSCRIPTION: stub_server(StubSettings(settings)),
        Modality.SPEECH: SpeechServer(settings, Tone),
        Modality.IMAGE: ImageServer(settings, Plain, env),
        Modality.TEXT: TextServer(settings, Echo),
        Modality.EMBEDDING: EmbeddingServer(settings, Letters),
    }


class Backends:
    """Clients of the SDK by side and deployment."""

    def __init__(self) -> None:
        self._urls: dict[tuple[str, str], str] = {}
        self._sent = 0

    def add(self, side: str, deployment: str, port: int) -> None:
        """This adapter serves it."""
        self._urls[side, deployment] = f"http://127.0.0.1:{port}/v1"

    def sdk(self, side: str, deployment: str) -> openai.AsyncOpenAI:
        """A client whose one request has the headers that Envoy would give it."""
        self._sent += 1
        identity = {
            "x-request-id": f"sdk-{self._sent}",
            "x-envoy-attempt-count": "1",
            "x-insource-namespace": "voice",
            "x-insource-deployment": deployment,
            "x-insource-client": "anna",
            "x-insource-gateway-token": TOKEN,
        }
        url = self._urls[side, deployment]
        return openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0, default_headers=identity)


@asynccontextmanager
async def backends(folder: Path) -> AsyncIterator[Backends]:
    """Everything ready."""
    found = Backends()
    async with AsyncExitStack() as stack:
        ledger_runner, ledger_port = await serve(ledger_application(FakeLedger()))
        stack.push_async_callback(ledger_runner.cleanup)
        adapters = []
        for modality, server in servers().items():
            runner, port = await serve(server.application())
            stack.push_async_callback(runner.cleanup)
            await server.ready()
            for deployment in [name for name, (what, _) in VENDORS_MODELS.items() if what is modality]:
                place = folder / f"inhouse-{deployment}"
                place.mkdir()
                backend = in_house(port, deployment=deployment, modality=modality, request_model=MODEL)
                adapter = Adapter(settings_for(place, backend, ledger_port, patience=CALM), system_env())
                await adapter.start()
                stack.push_async_callback(adapter.close)
                found.add(IN_HOUSE, deployment, adapter.ports["serve"])
                adapters.append(adapter)
        place = folder / "vendor"
        place.mkdir()
        url = await stack.enter_async_context(emulator(place, "openai", requests_per_minute=10**9))
        routes = {
            name: {"backend": "openai", "model": model, "modality": modality.value}
            for name, (modality, model) in VENDORS_MODELS.items()
        }
        (place / "routes.json").write_text(json.dumps({"deployments": routes}))
        (place / "key").write_text(KEY + "\n")
        settings = settings_for(place, vendor(place, int(url.rpartition(":")[2])), ledger_port)
        adapter = Adapter(settings, system_env())
        await adapter.start()
        stack.push_async_callback(adapter.close)
        for deployment in VENDORS_MODELS:
            found.add(VENDOR, deployment, adapter.ports["serve"])
        for each in adapters:
            await until(lambda adapter=each: adapter.state().ready)  # type: ignore[misc]
        yield found


def floats(vector: Any) -> Any:
    """A vector as the SDK gives it, as numbers."""
    return numpy.asarray(vector, dtype=numpy.float32)
