"""16 kHz PCM into what vendors send: containers and codecs by PyAV, written piece by piece."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

from insource.emulator.sound import RATE


@dataclass(frozen=True)
class Encoding:
    """One form of audio: PyAV's names, and the content type that a vendor gives it."""

    container: str
    codec: str
    rate: int
    content_type: str
    bit_rate: int | None = None
    whole: bool = False
    """Sent in one piece, with true lengths in its header."""


class _Pipe(io.RawIOBase):
    """What a container writes to: it cannot seek back."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._waiting)
        self._waiting.clear()
        return taken


class _Encoder:
    """PCM in, container out."""

    def __init__(self, encoding: Encoding) -> None:
        import av

        self._target: _Pipe | io.BytesIO = io.BytesIO() if encoding.whole else _Pipe()
        self._container = av.open(self._target, mode="w", format=encoding.container)
        self._stream = cast(Any, self._container.add_stream(encoding.codec, rate=encoding.rate, layout="mono"))
        if encoding.bit_rate:
            self._stream.bit_rate = encoding.bit_rate
        self._stream.open()
        self._resampler = av.AudioResampler(
            format=self._stream.format.name, layout="mono", rate=encoding.rate, frame_size=self._stream.frame_size or 0
        )
        self._at = 0

    def add(self, pcm: bytes) -> bytes:
        """What is ready after `pcm`."""
        import av
        import numpy

        if not pcm:
            return b""
        samples = numpy.frombuffer(pcm, dtype="<i2").reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = RATE
        frame.pts = self._at
        self._at += samples.shape[1]
        self._write(frame)
        return self._take()

    def finish(self) -> bytes:
        """The rest."""
        self._write(None)
        for packet in self._stream.encode(None):
            self._container.mux(packet)
        self._container.close()
        if isinstance(self._target, io.BytesIO):
            return self._target.getvalue()
        return self._take()

    def _write(self, frame: Any) -> None:
        for piece in self._resampler.resample(frame):
            for packet in self._stream.encode(piece):
                self._container.mux(packet)

    def _take(self) -> bytes:
        return self._target.take() if isinstance(self._target, _Pipe) else b""


async def encoded(pcm: AsyncIterator[bytes], encoding: Encoding) -> AsyncIterator[bytes]:
    """The audio in `encoding`, as far as it is ready after each piece."""
    encoder = await asyncio.to_thread(_Encoder, encoding)
    async for piece in pcm:
        if ready := await asyncio.to_thread(encoder.add, piece):
            yield ready
    if rest := await asyncio.to_thread(encoder.finish):
        yield rest
