"""Audio milliseconds of a file, by demuxing its packets: never by what its headers claim.

Runs in the worker process (`metering.worker`): the parsers below are native code that reads what strangers send.
Two sums are made: of the durations that the container gives its packets (which know about padding), and of what the
packets themselves hold, where the codec tells. Where they differ by more than padding explains, the packets are right.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

FORMATS = "wav,w64,aiff,mp3,ogg,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,flac,aac,mpeg"
"""libav's demuxers that may open an upload. Others are dangerous: playlists read what files and addresses they name."""
_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
_PADDING = Fraction(1, 4)
"""Seconds of encoder delay and tail that a container may rightly leave out."""
_SKIP_SAMPLES = struct.Struct("<II")
_AAC_LC_SAMPLES = 1024


class NotAudio(Exception):  # noqa: N818
    """The file cannot be read as audio; the text says why, fit for a client."""


@dataclass(frozen=True)
class Measured:
    """What a file holds."""

    audio_ms: int
    extension: str
    """A file name's ending that tells decoders the format, such as `wav`."""


def measure(path: Path) -> Measured:
    """Milliseconds of the file's first audio stream. Raises NotAudio for anything else, whatever it holds."""
    try:
        _check_decodes(path)
        with av.open(str(path), options=_OPTIONS) as container:
            seconds = _seconds(container)
            extension = _extension(container.format.name)
    except (av.FFmpegError, ValueError, OverflowError, IndexError, ZeroDivisionError, MemoryError) as problem:
        raise NotAudio(f"it cannot be decoded ({type(problem).__name__})") from problem
    audio_ms = round(seconds * 1000)
    if audio_ms <= 0:
        raise NotAudio("it holds no audio")
    return Measured(audio_ms, extension)


def _check_decodes(path: Path) -> None:
    # Note: random bytes can look like MP3; only a decoded frame proves that somebody can transcribe it.
    with av.open(str(path), options=_OPTIONS) as container:
        if not container.streams.audio:
            raise NotAudio("it has no audio stream")
        if next(container.decode(container.streams.audio[0]), None) is None:
            raise NotAudio("it holds no audio")


def _seconds(container: av.container.InputContainer) -> Fraction:
    stream = container.streams.audio[0]
    context = stream.codec_context
    is_opus = context.name in ("opus", "libopus")
    is_aac_lc = context.name == "aac" and context.profile in ("LC", "Main")
    by_container = by_packets = Fraction(0)
    is_mp3 = container.format.name == "mp3"
    ticks = skipped_samples = 0
    packets = without_duration = 0
    first = last = None
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            packets += 1
            duration = packet.duration or 0
            pts = packet.pts
            if pts is not None:
                first = pts if first is None else min(first, pts)
                last = pts + duration if last is None else max(last, pts + duration)
            if duration <= 0:
                without_duration += 1
            elif pts is None or pts >= 0:
                ticks += duration
            else:
                ticks += max(0, duration + pts)
            if is_mp3:
                skipped_samples += _skipped_samples(packet)
            if is_opus:
                by_packets += Fraction(_opus_samples(bytes(memoryview(packet)[:2])), 48_000)
    except av.FFmpegError:
        if not packets:
            raise
    time_base = stream.time_base or Fraction(0)
    by_container = ticks * time_base
    if without_duration and first is not None and last is not None:
        by_container = max(by_container, (last - max(first, 0)) * time_base)
    if context.sample_rate:
        by_container -= min(Fraction(skipped_samples, context.sample_rate), _PADDING)
    if is_aac_lc and context.sample_rate:
        by_packets = Fraction(packets * _AAC_LC_SAMPLES, context.sample_rate)
    if by_packets and abs(by_packets - by_container) > max(_PADDING, by_packets / 50):
        return by_packets
    return by_container


def _skipped_samples(packet: Any) -> int:
    """Delay and tail that the MP3 encoder noted (LAME tag); other containers show them in their timestamps."""
    skipped = 0
    for side_data in packet.iter_sidedata():
        if side_data.data_type == "skip_samples":
            skipped += sum(_SKIP_SAMPLES.unpack_from(bytes(side_data)))
    return skipped


def _opus_samples(head: bytes) -> int:
    """Samples at 48 kHz in an Opus packet, by its table-of-contents byte (RFC 6716, section 3.1)."""
    if not head:
        return 0
    config, code = head[0] >> 3, head[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config % 4]
    elif config < 16:
        frame = (480, 960)[config % 2]
    else:
        frame = (120, 240, 480, 960)[config % 4]
    frames = (1, 2, 2)[code] if code < 3 else (head[1] & 63 if len(head) > 1 else 0)
    return min(frame * frames, 5760)


def _extension(format_name: str) -> str:
    first = format_name.split(",")[0]
    return {"matroska": "webm", "mov": "m4a"}.get(first, first)
