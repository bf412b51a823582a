"""A plain WAV is measured in memory exactly as libav measures its corrected copy, or not at all."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insource.adapter.metering.pcm import measure_plain_wav, with_true_sizes
from insource.adapter.metering.worker import answer
from tests.audio import ENCODINGS, clips, encoded, truncated, with_false_duration

PCM_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def chunk(name: bytes, content: bytes, claimed: int | None = None) -> bytes:
    size = len(content) if claimed is None else claimed
    return name + struct.pack("<I", size) + content + b"\0" * (len(content) % 2)


def form(code: int, channels: int, rate: int, bits: int, *, extensible: bool = False) -> bytes:
    align = channels * bits // 8
    plain = struct.pack("<HHIIHH", 0xFFFE if extensible else code, channels, rate, rate * align, align, bits)
    mask = (1 << channels) - 1
    return plain + struct.pack("<HHIH", 22, bits, mask, code) + PCM_GUID_TAIL if extensible else plain


def wav(fmt: bytes, samples: bytes, *, before: bytes = b"", after: bytes = b"", claimed: int | None = None) -> bytes:
    body = b"WAVE" + chunk(b"fmt ", fmt) + before + chunk(b"data", samples, claimed) + after
    return b"RIFF" + struct.pack("<I", len(body)) + body


def by_libav(data: bytes) -> tuple[int | None, bytes]:
    """Milliseconds (None: no audio) as a measuring process finds them, and the copy as it leaves it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        path.write_bytes(data)
        found = answer(path)
        assert found.get("extension", "wav") == "wav"
        return (int(found["audio_ms"]) if "audio_ms" in found else None), path.read_bytes()


def check_same(data: bytes) -> int | None:
    """What we find in memory, after comparing it with libav's."""
    true = with_true_sizes(data)
    found = measure_plain_wav(true)
    if measure_plain_wav(data) is not None:  # then nothing in it has to be corrected
        assert true == data
    if found is not None:
        assert (found.audio_ms, true) == by_libav(data)
        return found.audio_ms
    return None


LAYOUTS = [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)]


@st.composite
def plain_wavs(draw: st.DrawFn) -> bytes:
    code, bits = draw(st.sampled_from(LAYOUTS))
    channels = draw(st.integers(1, 8))
    rate = draw(st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]) | st.integers(1000, 384_000))
    count = draw(st.integers(0, 20_000))
    noise = draw(st.binary(min_size=1, max_size=64))
    samples = (noise * (count // len(noise) + 1))[:count]
    chunks = st.sampled_from([b"LIST", b"JUNK", b"fact", b"PAD ", b"cue ", b"smpl", b"bext", b"id3 "])
    contents = st.binary(max_size=40) | st.just(b"INFO" + chunk(b"ISFT", b"Lavf60.16.100\0"))
    before, after = (
        b"".join(chunk(name, draw(contents)) for name in draw(st.lists(chunks, max_size=2))) for _ in range(2)
    )
    claims = st.none() | st.integers(0, 40_000) | st.sampled_from([0xFFFFFFFF, 0x7FFFFFFF, 0x80000000])
    fmt = form(code, channels, rate, bits, extensible=draw(st.booleans()))
    return wav(fmt, samples, before=before, after=after, claimed=draw(claims))


@settings(max_examples=400, deadline=None)
@given(data=plain_wavs())
def test_the_same_as_libav_whatever_the_header_claims(data: bytes) -> None:
    check_same(data)


@settings(max_examples=400, deadline=None)
@given(
    whole=plain_wavs(), edits=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=4), data=st.data()
)
def test_the_same_as_libav_for_mutilated_files(whole: bytes, edits: list[tuple[int, int]], data: st.DataObject) -> None:
    broken = bytearray(whole)
    for at, value in edits:
        broken[min(at, len(broken) - 1)] = value
    check_same(bytes(broken[: data.draw(st.integers(0, len(broken)) | st.just(len(broken)))]))


def test_a_title_before_the_samples_needs_no_process() -> None:
    title = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"Lavf60.16.100\0"))
    for data in (
        wav(form(1, 1, 16_000, 16), bytes(32_000), before=title),
        wav(form(1, 1, 16_000, 16), bytes(32_000), after=title),
        wav(form(1, 1, 16_000, 16), bytes(32_000), before=title, claimed=0xFFFFFFFF),  # ffmpeg into a pipe
    ):
        assert check_same(data) == 1000


@pytest.mark.parametrize("note", [chunk(b"ISFT", "größer".encode("latin-1")), chunk(b"\x80SFT", b"x")])
def test_notes_in_another_alphabet_are_no_fault_of_the_audio(note: bytes) -> None:
    data = wav(form(1, 1, 16_000, 16), bytes(32_000), before=chunk(b"LIST", b"INFO" + note))
    assert check_same(data) == 1000
    assert by_libav(data)[0] == 1000


@pytest.mark.parametrize(("code", "bits"), LAYOUTS)
@pytest.mark.parametrize("extensible", [False, True])
def test_plain_files_need_no_process(code: int, bits: int, extensible: bool) -> None:
    for channels in (1, 2):
        fmt = form(code, channels, 16_000, bits, extensible=extensible)
        assert check_same(wav(fmt, bytes(16_000 * channels * bits // 8))) == 1000


def test_real_speech_and_false_claims_about_it() -> None:
    for clip in clips():
        assert check_same(encoded(clip.name, "wav")) is not None
    true = encoded("0880", "wav")
    whole = check_same(true)
    assert whole is not None
    for claim_s in (0.5, 10, 3600):
        false = with_false_duration(true, "wav", claim_s)
        assert check_same(false) == whole
        assert with_true_sizes(false) == true
    half = check_same(truncated(true))
    assert half is not None
    assert 0.4 * whole < half < 0.6 * whole


@pytest.mark.parametrize("encoding", [one for one in ENCODINGS if one != "wav"])
def test_other_formats_are_left_to_libav(encoding: str) -> None:
    data = encoded("0880", encoding)
    assert with_true_sizes(data) == data
    assert measure_plain_wav(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        encoded("0880", "wav")[:44],
        wav(form(1, 1, 16_000, 12), bytes(8000)),
        wav(form(2, 1, 16_000, 8), bytes(8000)),  # ADPCM
        wav(form(1, 2, 48_000, 16), b"\x72\xf8\x1f\x4e" + bytes(8000)),  # AC-3 as S/PDIF
        wav(form(1, 1, 16_000, 16), bytes(8000), after=chunk(b"data", bytes(8000))),
        wav(form(1, 1, 16_000, 16), bytes(8000), before=chunk(b"fmt ", form(1, 1, 8000, 16))),
    ],
    ids=["empty", "four bytes", "header only", "12 bits", "ADPCM", "S/PDIF", "two data chunks", "two formats"],
)
def test_what_is_not_plain_is_left_to_libav(data: bytes) -> None:
    assert measure_plain_wav(with_true_sizes(data)) is None


def dts_frames(count: int) -> bytes:
    """Frames whose headers are DTS: 48 kHz, two channels, 1,024 bytes each; nothing in them can be decoded."""
    fields = (
        (32, 0x7FFE8001), (1, 1), (5, 31), (1, 0), (7, 15), (14, 1023), (6, 2), (4, 13), (5, 15), (13, 0), (1, 1),
        (1, 0), (4, 7), (11, 0),
    )  # fmt: skip
    text = "".join(format(value, f"0{length}b") for length, value in fields)
    head = int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8))
    return (head + bytes(range(256)) * 4)[:1024] * count


def spdif_frames(count: int) -> bytes:
    """Bursts that announce AC-3, 6,144 bytes each."""
    return (b"\x72\xf8\x1f\x4e\x01\x00\x00\x18\x77\x0b" + bytes(6134)) * count


@pytest.mark.parametrize("hidden", [dts_frames(400), spdif_frames(60)], ids=["DTS", "S/PDIF"])
@pytest.mark.parametrize(("channels", "rate"), [(1, 16_000), (2, 48_000), (8, 192_000)])
def test_what_libav_finds_hidden_in_samples_is_left_to_it(hidden: bytes, channels: int, rate: int) -> None:
    fmt = form(1, channels, rate, 16)
    alike = 0
    for before in (0, 1000, 4096, 32_000, 65_536, 100_000, 200_000, 262_144, 400_000, 800_000):
        alike += check_same(wav(fmt, bytes(before // (2 * channels) * 2 * channels) + hidden)) is not None
    assert check_same(wav(fmt, hidden)) is None
    assert alike  # far behind the start nobody looks
