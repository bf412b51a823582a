"""Emulated vendors for their conformance tests, which are written from the vendors' public formats."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import av
from aiohttp import web

from insource.emulator.program import application
from insource.emulator.settings import EmulatorSettings
from insource.env import system_env

KEY = "sk-proj-emulated0123456789"


@asynccontextmanager
async def emulator(tmp_path: Path, vendor: str, **settings: Any) -> AsyncIterator[str]:
    """The vendor's URL; engines are `echo` unless `settings` say otherwise."""
    key_file = tmp_path / "key"
    key_file.write_text(KEY + "\n")
    found = EmulatorSettings(
        **{"engine": "echo", "data": tmp_path / "data", "key_file": key_file, "vendor": vendor, **settings}
    )
    runner = web.AppRunner(application(found, system_env()), handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def meter(url: str) -> Any:
    """What the vendor has billed."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/emulator/meter") as answer:
        return await answer.json()


async def faults(url: str, **which: Any) -> None:
    """Switch faults on, and all others off."""
    async with aiohttp.ClientSession() as session, session.post(f"{url}/emulator/faults", json=which) as answer:
        assert answer.status == 200, await answer.text()


def items(line: dict[str, Any]) -> dict[str, int]:
    """The quantities of a line of the bill, by unit."""
    return {item["unit"]: item["quantity"] for item in line["items"]}


def probe(path: Path) -> tuple[str, str, int, float]:
    """Container, codec, sampling rate and seconds of an audio file, by decoding it."""
    samples = 0
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        for frame in container.decode(audio=0):
            samples += frame.samples
        rate = stream.codec_context.sample_rate
        return container.format.name, stream.codec_context.name.removesuffix("float"), rate, samples / rate
