"""Audio is measured from its packets: right in every encoding, whatever its header claims; no file breaks it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insource.adapter.metering.measured import NotAudio
from insource.adapter.metering.worker import answer
from insource.adapter.metering.workers import MeasuringProcesses
from tests.audio import ENCODINGS, clips, encode, encoded, joined, truncated, with_false_duration


def measured(folder: Path, data: bytes) -> int:
    path = folder / "upload"
    path.write_bytes(data)
    found = answer(path)
    assert "audio_ms" in found, found
    return int(found["audio_ms"])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_encoding_of_each_clip(tmp_path: Path, encoding: str) -> None:
    for clip in clips():
        assert abs(measured(tmp_path, encoded(clip.name, encoding)) - clip.duration_ms) <= 10


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_false_claim_of_more_has_no_effect(tmp_path: Path, encoding: str) -> None:
    for claim_s in (3600, 10):
        false = with_false_duration(encoded("0880", encoding), encoding, claim_s)
        assert abs(measured(tmp_path, false) - measured(tmp_path, encoded("0880", encoding))) <= 30


@pytest.mark.parametrize("encoding", ["wav", "mp3", "webm", "m4a", "flac"])
def test_a_false_claim_of_less_has_no_effect(tmp_path: Path, encoding: str) -> None:
    false = with_false_duration(encoded("0880", encoding), encoding, 0.5)
    assert abs(measured(tmp_path, false) - measured(tmp_path, encoded("0880", encoding))) <= 30


def test_a_short_wav_claim_is_corrected_in_the_copy_that_is_transcribed(tmp_path: Path) -> None:
    true = encoded("0880", "wav")
    measured(tmp_path, with_false_duration(true, "wav", 0.5))
    assert (tmp_path / "upload").read_bytes() == true


def test_chunks_after_the_audio_are_not_audio(tmp_path: Path) -> None:
    wav = encoded("0880", "wav") + b"LIST" + (4000).to_bytes(4, "little") + bytes(4000)
    assert measured(tmp_path, wav) == measured(tmp_path, encoded("0880", "wav"))


def test_fragmented_mp4(tmp_path: Path) -> None:
    data = encode(encoded("0880", "wav"), "m4a", mp4_options={"movflags": "frag_keyframe+empty_moov"})
    assert abs(measured(tmp_path, data) - measured(tmp_path, encoded("0880", "wav"))) <= 70  # no place for priming


@pytest.mark.parametrize("encoding", ["wav", "mp3", "ogg", "webm", "flac"])
def test_half_a_file_is_what_was_received(tmp_path: Path, encoding: str) -> None:
    whole = measured(tmp_path, encoded("0880", encoding))
    assert 0.3 * whole < measured(tmp_path, truncated(encoded("0880", encoding))) < 0.6 * whole


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"this is not audio" * 100,
        os.urandom(200_000),
        encoded("0880", "wav")[:44],
        truncated(encoded("0880", "m4a")),
        b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"\x89PNG\r\n\x1a\n" + bytes(1000),
    ],
    ids=["empty", "text", "random", "wav header only", "m4a without index", "playlist", "concat", "png"],
)
def test_not_audio(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "upload"
    path.write_bytes(data)
    assert "error" in answer(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutilated_files_get_an_answer(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(encoded("0880", data.draw(st.sampled_from(ENCODINGS))))
    for _ in range(data.draw(st.integers(0, 8))):
        at = data.draw(st.integers(0, min(len(whole) - 1, data.draw(st.sampled_from([100, 1000, len(whole) - 1])))))
        whole[at] = data.draw(st.integers(0, 255))
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    path = tmp_path / "upload"
    path.write_bytes(bytes(cut))
    found = answer(path)
    assert "error" in found or 0 < int(found["audio_ms"]) < 3_600_000


async def test_in_processes_at_once_and_after_a_death(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(joined())
    meter = MeasuringProcesses(count=1)
    try:
        assert abs((await meter.measure(path)).audio_ms - 24_730) < 300
        for process in meter._all:
            process.kill()
            await process.wait()
        with pytest.raises(NotAudio):
            await meter.measure(path)
        assert (await meter.measure(path)).extension == "wav"
    finally:
        await meter.close()


async def test_a_file_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    fifo = tmp_path / "upload"
    os.mkfifo(fifo)  # opening it waits for ever
    meter = MeasuringProcesses(count=1, timeout_s=0.2)
    try:
        with pytest.raises(NotAudio):
            await meter.measure(fifo)
    finally:
        await meter.close()


def test_the_adapter_itself_loads_no_native_parser() -> None:
    program = "import sys, insource.adapter.server; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
