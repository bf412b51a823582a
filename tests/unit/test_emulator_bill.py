"""The emulator's bill: prices, rounding, and what is left after a crash."""

from __future__ import annotations

import asyncio
from pathlib import Path

from insource.emulator.bill import Bill, Line, price_nano_usd, usage_of, usd, whole_seconds


def test_whisper_bills_whole_seconds_rounded_up() -> None:
    assert [whole_seconds(samples, 16_000) for samples in (1, 16_000, 16_001, 47_840)] == [1, 1, 2, 3]
    usage = usage_of("whisper-1", 9, 8.47, "", "text")
    assert usage == {"type": "duration", "seconds": 9}
    assert usd(price_nano_usd("whisper-1", usage)) == "0.0009"
    assert usd(price_nano_usd("whisper-1", {"seconds": 60})) == "0.006"


def test_the_others_bill_tokens() -> None:
    usage = usage_of("gpt-4o-transcribe", 3, 2.99, "12345", "a" * 36)
    assert usage["input_token_details"] == {"text_tokens": 2, "audio_tokens": 30}
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] == 32 + 9
    assert price_nano_usd("gpt-4o-transcribe", usage) == 30 * 6_000 + 2 * 2_500 + 9 * 10_000


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
