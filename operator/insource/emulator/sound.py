"""Decoding any upload to 16 kHz mono PCM, for the emulator's engines."""

from __future__ import annotations

from typing import IO

RATE = 16_000


class UndecodableError(Exception):
    """The upload is not audio."""


def decode_pcm(audio: IO[bytes], containers: tuple[str, ...] = ()) -> bytes:
    """Signed 16-bit little-endian mono samples at `RATE`. Raises `UndecodableError`, also for other `containers`."""
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    pcm = bytearray()
    try:
        with av.open(audio, mode="r", metadata_errors="ignore") as container:
            if containers and container.format.name not in containers:
                raise UndecodableError(f"{container.format.name} is not taken")
            if not container.streams.audio:
                raise UndecodableError("no audio stream")
            frames = container.decode(audio=0)
            while True:
                try:
                    frame = next(frames, None)
                except av.FFmpegError:
                    if not pcm:
                        raise
                    frame = None  # broken off: what came before is transcribed, and billed
                for piece in resampler.resample(frame):
                    pcm += piece.to_ndarray().tobytes()
                if frame is None:
                    break
    except (av.FFmpegError, ValueError) as error:
        raise UndecodableError(str(error)) from error
    if not pcm:
        raise UndecodableError("no samples")
    return bytes(pcm)
