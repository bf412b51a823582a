"""Samples into OpenAI's six audio formats, piece by piece: what one piece gives can be sent before the next is made.

Everything leaves at 24 kHz, mono, as OpenAI's audio does.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import av
import numpy

AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
AUDIO_FORMATS: tuple[AudioFormat, ...] = ("mp3", "opus", "aac", "flac", "wav", "pcm")
CONTENT_TYPES: Mapping[AudioFormat, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
SAMPLE_RATE = 24_000
UNKNOWN_LENGTH = 0xFFFFFFFF
WAV_HEADER = struct.pack(
    "<4sI4s4sIHHIIHH4sI",
    *(
        b"RIFF",
        UNKNOWN_LENGTH,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        SAMPLE_RATE,
        2 * SAMPLE_RATE,
        2,
        16,
        b"data",
        UNKNOWN_LENGTH,
    ),
)
"""Of a stream whose length nobody knows yet: both sizes are 2**32 - 1, as FFmpeg writes and reads it."""


@dataclass(frozen=True)
class _Codec:
    container: str
    name: str
    bit_rate: int | None = None
    options: dict[str, str] = field(default_factory=dict)


CODECS: Mapping[str, _Codec] = {
    # No header that counts frames, and no tag: the one would be wrong, the other is of no use to anybody.
    "mp3": _Codec("mp3", "libmp3lame", 64_000, {"write_xing": "0", "id3v2_version": "0"}),
    "opus": _Codec("ogg", "libopus", 48_000, {"page_duration": "100000"}),
    "aac": _Codec("adts", "aac", 64_000),
    "flac": _Codec("flac", "flac"),
}


class Encoder:
    """One answer's audio. `encode` any number of times, then `finish`; all results joined are the file."""

    def __init__(self, audio_format: AudioFormat, sample_rate: int) -> None:
        """`sample_rate` [Hz] is that of what will be encoded."""
        self._rate = sample_rate
        self._written = _Sink()
        self._container: Any = None
        self._stream: Any = None
        sample_format = "s16"
        if audio_format == "wav":
            self._written.write(WAV_HEADER)
        if audio_format in CODECS:
            codec = CODECS[audio_format]
            # Nothing is sought in the sink, so each format is written as a stream; every packet is written at once.
            self._container = av.open(
                self._written,
                "w",
                format=codec.container,
                options={**codec.options, "flush_packets": "1", "fflags": "+bitexact"},
            )
            self._stream = self._container.add_stream(codec.name, rate=SAMPLE_RATE, layout="mono")
            if codec.bit_rate is not None:
                self._stream.bit_rate = codec.bit_rate
            sample_format = self._stream.codec_context.format.name
        self._resampler = av.AudioResampler(format=sample_format, layout="mono", rate=SAMPLE_RATE)

    def encode(self, samples: Any) -> bytes:
        """What can be sent once `samples` (int16, one dimension, at least one) have been added; may be empty."""
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self._rate
        self._add(self._resampler.resample(frame))
        return self._written.taken()

    def finish(self) -> bytes:
        """The rest."""
        self._add(self._resampler.resample(None))
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        return self._written.taken()

    def _add(self, frames: list[Any]) -> None:
        for frame in frames:
            if self._container is not None:
                self._container.mux(self._stream.encode(frame))
            else:
                self._written.write(frame.to_ndarray()[0].astype("<i2").tobytes())


class _Sink:
    """A file that can only be written, and is emptied by `taken`."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, data: bytes) -> int:
        self._bytes += data
        return len(data)

    def taken(self) -> bytes:
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken


def to_int16(samples: Any) -> Any:
    """Floats of -1 to 1 as 16-bit integers; what is beyond is clipped."""
    return (numpy.clip(samples, -1.0, 1.0) * 32_767.0).round().astype(numpy.int16)
