"""The emulator's bill: prices, rounding, and what is left after a crash."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from insource.emulator.bill import Bill, Line, itemise, usd
from insource.emulator.models import AZURE_SPEECH, OPENAI, Model, Price
from insource.emulator.transcription import billed_units, usage_of, whole_seconds


def price_nano_usd(model: Model, usage: dict[str, Any]) -> int:
    return sum(item.nano_usd for item in itemise(model, billed_units(usage)))


def test_whisper_bills_whole_seconds_rounded_up() -> None:
    assert [whole_seconds(samples, 16_000) for samples in (1, 16_000, 16_001, 47_840)] == [1, 1, 2, 3]
    usage = usage_of(OPENAI["whisper-1"], 9, 8.47, "", "text")
    assert usage == {"type": "duration", "seconds": 9}
    assert usd(price_nano_usd(OPENAI["whisper-1"], usage)) == "0.0009"
    assert usd(price_nano_usd(OPENAI["whisper-1"], {"type": "duration", "seconds": 60})) == "0.006"


def test_the_others_bill_tokens() -> None:
    usage = usage_of(OPENAI["gpt-4o-transcribe"], 3, 2.99, "12345", "a" * 36)
    assert usage["input_token_details"] == {"text_tokens": 2, "audio_tokens": 30}
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] == 32 + 9
    assert price_nano_usd(OPENAI["gpt-4o-transcribe"], usage) == 30 * 6_000 + 2 * 2_500 + 9 * 10_000


def test_prices_below_a_nano_dollar_are_rounded_once_half_to_even() -> None:
    transcribe = AZURE_SPEECH["MAI-Transcribe-2"]  # 0.10 USD per hour: 27.7 nano-dollars per millisecond
    [hour] = itemise(transcribe, {"audio_ms": 3_600_000})
    assert (hour.nano_usd, hour.unit, hour.quantity) == (100_000_000, "audio_ms", 3_600_000)
    assert [Price(100_000_000, 3_600_000).of(quantity) for quantity in (1, 2, 2990)] == [28, 56, 83_056]
    assert [Price(1, 2).of(quantity) for quantity in (1, 3, 5)] == [0, 2, 2]


def test_a_unit_without_a_price_is_no_line() -> None:
    with pytest.raises(KeyError):
        itemise(OPENAI["tts-1"], {"seconds": 1})


async def test_a_bill_of_an_older_emulator_is_read(tmp_path: Path) -> None:
    (tmp_path / "bill.jsonl").write_text(
        '{"id":"a","model":"whisper-1","seconds":3,"nano_usd":300000,"client_request_id":"","caller_request_id":"","at":""}\n'
    )
    bill = Bill(tmp_path)
    assert (bill.report()["bill_usd"], bill.report()["units"]) == ("0.0003", {})
    await bill.close()


async def test_items_survive_a_restart(tmp_path: Path) -> None:
    bill = Bill(tmp_path)
    items = itemise(OPENAI["gpt-6-luna"], {"input_tokens": 7, "output_tokens": 11})
    await bill.add(Line("a", "gpt-6-luna", 0, sum(item.nano_usd for item in items), items=items))
    await bill.close()
    again = Bill(tmp_path)
    assert again.lines[0].items == items
    assert again.report()["units"] == {"input_tokens": 7, "output_tokens": 11}
    await again.close()


async def test_lines_that_wait_together_are_all_written(tmp_path: Path) -> None:
    bill = Bill(tmp_path)
    await asyncio.gather(*(bill.add(Line(str(n), "whisper-1", 1, 100_000)) for n in range(100)))
    await bill.close()
    again = Bill(tmp_path)
    assert again.report()["requests"] == 100
    assert again.report()["bill_usd"] == "0.01"
    await again.close()


async def test_a_torn_last_line_is_cut_off_and_writing_goes_on(tmp_path: Path) -> None:
    bill = Bill(tmp_path)
    await bill.add(Line("a", "whisper-1", 1, 100_000))
    await bill.close()
    with (tmp_path / "bill.jsonl").open("ab") as file:
        file.write(b'{"id":"b","mod')
    again = Bill(tmp_path)
    await again.add(Line("c", "whisper-1", 2, 200_000))
    await again.close()
    last = Bill(tmp_path)
    assert [line.id for line in last.lines] == ["a", "c"]
    await last.close()
