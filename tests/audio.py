"""Audio for tests: the LibriVox clips of `examples/audio`, the same speech in every container, and headers that lie.

Encodings are made by PyAV at first use and kept for the rest of the test run. Nothing here knows how the product
measures; a test compares what it measures with `Clip.duration_ms`, which comes from the WAV's own sample count.
"""

from __future__ import annotations

import functools
import io
import struct
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av

AUDIO_DIR = Path(__file__).resolve().parent.parent / "examples" / "audio"

Encoding = Literal["wav", "mp3", "ogg", "webm", "m4a", "flac"]
ENCODINGS: tuple[Encoding, ...] = ("wav", "mp3", "ogg", "webm", "m4a", "flac")

CONTENT_TYPES: dict[Encoding, str] = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "webm": "audio/webm",
    "m4a": "audio/mp4",
    "flac": "audio/flac",
}

_CONTAINERS: dict[Encoding, tuple[str, str, int]] = {
    "wav": ("wav", "pcm_s16le", 16_000),
    "mp3": ("mp3", "libmp3lame", 16_000),
    "ogg": ("ogg", "libopus", 16_000),
    "webm": ("webm", "libopus", 16_000),
    "m4a": ("ipod", "aac", 16_000),
    "flac": ("flac", "flac", 16_000),
}


@dataclass(frozen=True)
class Clip:
    """One LibriVox clip: 16 kHz mono 16-bit WAV with its transcript."""

    name: str
    wav: Path
    reference: str
    duration_ms: int
    """Rounded from the sample count."""


@functools.cache
def clips() -> tuple[Clip, ...]:
    """The five clips, shortest name first; 24.7 s of speech in all."""
    return tuple(_clip(path) for path in sorted(AUDIO_DIR.glob("*.wav")))


def _clip(path: Path) -> Clip:
    with wave.open(str(path), "rb") as reader:
        duration_ms = round(reader.getnframes() * 1000 / reader.getframerate())
    return Clip(path.stem[-4:], path, path.with_suffix(".txt").read_text(encoding="utf-8").strip(), duration_ms)


def clip(name: str = "0880") -> Clip:
    """The clip whose file name ends in `name`; the default is the shortest one (3 s)."""
    return next(found for found in clips() if found.name == name)


@functools.cache
def encoded(name: str = "0880", encoding: Encoding = "wav") -> bytes:
    """The clip `name` as `encoding`: mp3 (CBR, Xing header), ogg and webm (Opus), m4a (AAC, moov at the end), flac."""
    return encode(clip(name).wav.read_bytes(), encoding)


def encode(wav: bytes, encoding: Encoding, *, mp4_options: dict[str, str] | None = None) -> bytes:
    """Re-encode `wav`. `mp4_options` go to the muxer, such as `{"movflags": "faststart"}`."""
    if encoding == "wav":
        return wav
    container_name, codec, rate = _CONTAINERS[encoding]
    buffer = io.BytesIO()
    with (
        av.open(io.BytesIO(wav), "r") as source,
        av.open(buffer, "w", format=container_name, options=mp4_options or {}) as sink,
    ):
        stream = sink.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
        for frame in source.decode(audio=0):
            for resampled in resampler.resample(frame):
                sink.mux(stream.encode(resampled))
        for resampled in resampler.resample(None):
            sink.mux(stream.encode(resampled))
        sink.mux(stream.encode(None))
    return buffer.getvalue()


def silence(duration_ms: int, rate: int = 16_000) -> bytes:
    """A WAV of silence: cheap audio of a chosen length."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(bytes(2 * rate * duration_ms // 1000))
    return buffer.getvalue()


def joined(repeat: int = 1) -> bytes:
    """All five clips one after the other, `repeat` times, as one WAV: long real speech (24.7 s each)."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        for _ in range(repeat):
            for each in clips():
                with wave.open(str(each.wav), "rb") as reader:
                    writer.writeframes(reader.readframes(reader.getnframes()))
    return buffer.getvalue()


def truncated(data: bytes, keep: float = 0.5) -> bytes:
    """The first part of a file, as after a broken upload."""
    return data[: int(len(data) * keep)]


def with_false_duration(data: bytes, encoding: Encoding, seconds: float) -> bytes:
    """The same audio, byte for byte, under a header that claims `seconds`.

    wav: RIFF and data sizes. mp3: Xing frame count. m4a: mvhd, tkhd and mdhd. webm: Duration. flac: STREAMINFO's
    total samples. ogg: the last page's granule position (with a right checksum). A WAV or Ogg claim *below* the truth
    is not only a lie: it cuts the audio for every decoder.
    """
    falsify = {"wav": _wav, "mp3": _mp3, "m4a": _m4a, "webm": _webm, "flac": _flac, "ogg": _ogg}[encoding]
    false = bytearray(data)
    falsify(false, seconds)
    return bytes(false)


def _wav(data: bytearray, seconds: float) -> None:
    byte_rate = struct.unpack_from("<I", data, 28)[0]
    at = data.index(b"data", 12)
    claimed = min(int(seconds * byte_rate), 0xFFFF_FF00)
    struct.pack_into("<I", data, at + 4, claimed)
    struct.pack_into("<I", data, 4, claimed + at)


def _mp3(data: bytearray, seconds: float) -> None:
    at = max(data.find(b"Xing", 0, 4096), data.find(b"Info", 0, 4096))
    assert at >= 0, "this mp3 has no Xing or Info header to falsify"
    samples_per_frame = 576  # MPEG-2 layer III: 16 kHz
    struct.pack_into(">I", data, at + 8, int(seconds * 16_000 / samples_per_frame))


def _m4a(data: bytearray, seconds: float) -> None:
    scale_at = data.index(b"mvhd") + 4 + 12
    movie_scale = struct.unpack_from(">I", data, scale_at)[0]
    struct.pack_into(">I", data, scale_at + 4, int(seconds * movie_scale))
    struct.pack_into(">I", data, data.index(b"tkhd") + 4 + 20, int(seconds * movie_scale))
    media_at = data.index(b"mdhd") + 4 + 12
    media_scale = struct.unpack_from(">I", data, media_at)[0]
    struct.pack_into(">I", data, media_at + 4, int(seconds * media_scale))


def _webm(data: bytearray, seconds: float) -> None:
    at = data.index(b"\x44\x89\x88")  # Duration, 8-byte float, in milliseconds by the default TimestampScale
    struct.pack_into(">d", data, at + 3, seconds * 1000)


def _flac(data: bytearray, seconds: float) -> None:
    at = 8 + 10  # "fLaC" + block header, then sizes; here 20 bits rate, 3 channels, 5 depth, 36 total samples
    packed = struct.unpack_from(">Q", data, at)[0]
    rate = packed >> 44
    total = int(seconds * rate) & ((1 << 36) - 1)
    struct.pack_into(">Q", data, at, (packed & ~((1 << 36) - 1)) | total)


def _ogg(data: bytearray, seconds: float) -> None:
    at = data.rindex(b"OggS")
    struct.pack_into("<Q", data, at + 6, int(seconds * 48_000))
    struct.pack_into("<I", data, at + 22, 0)
    struct.pack_into("<I", data, at + 22, _ogg_checksum(data[at:]))


def _ogg_checksum(page: bytearray) -> int:
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = ((crc << 1) ^ 0x04C11DB7) & 0xFFFF_FFFF if crc & 0x8000_0000 else (crc << 1) & 0xFFFF_FFFF
    return crc
