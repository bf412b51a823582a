"""The vendor's meter and bill: one line per billed request, on disk before the answer is sent.

Lines that are waiting share one fsync. After a crash the file is read back; a torn last line was never answered, and is
cut off. Money is integer nano-dollars.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

NANO = 1_000_000_000
WHISPER_NANO_PER_S = 100_000
"""whisper-1: 0.006 USD per minute, in seconds rounded up."""


@dataclass(frozen=True)
class TokenRates:
    """Prices of a model that is billed by tokens, in nano-dollars each."""

    audio_in: int
    text_in: int
    text_out: int


TOKEN_RATES = {
    "gpt-4o-transcribe": TokenRates(audio_in=6_000, text_in=2_500, text_out=10_000),
    "gpt-4o-mini-transcribe": TokenRates(audio_in=3_000, text_in=1_250, text_out=5_000),
}
AUDIO_TOKENS_PER_S = 10
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Line:
    """One billed request."""

    id: str
    """Ours: the answer's `x-request-id`."""
    model: str
    seconds: int
    """Audio, rounded up to whole seconds."""
    nano_usd: int
    client_request_id: str = ""
    """The caller's `X-Client-Request-Id`."""
    caller_request_id: str = ""
    """The caller's `x-request-id`."""
    at: str = ""


def whole_seconds(samples: int, rate: int) -> int:
    """Seconds as whisper-1 bills them: rounded up."""
    return -(-samples // rate)


def usage_of(model: str, seconds: int, audio_s: float, prompt: str, text: str) -> dict[str, Any]:
    """The `usage` that the model reports: a duration for whisper-1, tokens for the others."""
    if model not in TOKEN_RATES:
        return {"type": "duration", "seconds": seconds}
    audio_tokens = max(1, math.ceil(audio_s * AUDIO_TOKENS_PER_S))
    text_tokens = math.ceil(len(prompt) / CHARACTERS_PER_TOKEN)
    output_tokens = max(1, math.ceil(len(text) / CHARACTERS_PER_TOKEN))
    return {
        "type": "tokens",
        "input_tokens": audio_tokens + text_tokens,
        "input_token_details": {"text_tokens": text_tokens, "audio_tokens": audio_tokens},
        "output_tokens": output_tokens,
        "total_tokens": audio_tokens + text_tokens + output_tokens,
    }


def price_nano_usd(model: str, usage: dict[str, Any]) -> int:
    """What `usage` costs, in nano-dollars."""
    rates = TOKEN_RATES.get(model)
    if rates is None:
        return int(usage["seconds"]) * WHISPER_NANO_PER_S
    details = usage["input_token_details"]
    return int(
        details["audio_tokens"] * rates.audio_in
        + details["text_tokens"] * rates.text_in
        + usage["output_tokens"] * rates.text_out
    )


class Bill:
    """The append-only file `bill.jsonl` of a folder, and what it adds up to."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "bill.jsonl"
        self.lines = _recover(self._path)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._waiting: list[tuple[Line, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, line: Line) -> None:
        """Return when `line` is on disk. Raises `OSError`."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((line, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await written

    def report(self) -> dict[str, Any]:
        """Body of `GET /emulator/meter`."""
        return {
            "requests": len(self.lines),
            "seconds": sum(line.seconds for line in self.lines),
            "bill_usd": usd(sum(line.nano_usd for line in self.lines)),
            "lines": [{**asdict(line), "usd": usd(line.nano_usd)} for line in self.lines],
        }

    async def close(self) -> None:
        """Finish what is being written."""
        if self._writer is not None:
            await self._writer
        os.close(self._fd)

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._append, [line for line, _ in batch])
            except OSError as error:
                for _, written in batch:
                    if not written.done():
                        written.set_exception(error)
                continue
            self.lines += [line for line, _ in batch]
            for _, written in batch:
                if not written.done():
                    written.set_result(None)

    def _append(self, lines: list[Line]) -> None:
        text = "".join(json.dumps(asdict(line), separators=(",", ":")) + "\n" for line in lines)
        remaining = memoryview(text.encode())
        while remaining:
            remaining = remaining[os.write(self._fd, remaining) :]
        os.fsync(self._fd)


def usd(nano: int) -> str:
    """Nano-dollars as decimal text in dollars."""
    return f"{Decimal(nano) / NANO:f}"


def _recover(path: Path) -> list[Line]:
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) != len(content):
        os.truncate(path, len(whole))
    return [Line(**json.loads(text)) for text in whole.splitlines()]
