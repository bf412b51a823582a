"""Audio milliseconds of a file, by demuxing its packets: never by what its headers claim.

Runs in the worker process (`metering.worker`): the parsers below are native code that reads what strangers send.
Two sums are made: of the durations that the container gives its packets (which know about padding), and of what the
packets themselves hold, where the codec tells. Where they differ by more than padding explains, the packets are right.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from insource.adapter.metering.measured import Measured, NotAudio

FORMATS = "wav,w64,aiff,mp3,ogg,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,flac,aac,mpeg"
"""libav's demuxers that may open an upload. Others are dangerous: playlists read what files and addresses they name."""
_OPTIONS = {
    "format_whitelist": FORMATS,
    "protocol_whitelist": "file",
    "max_probe_packets": "1",  # libav looks for DTS inside WAV in 2,500 packets: 7 ms for each upload, for nothing
}
_PADDING = Fraction(1, 4)
"""Seconds of encoder delay and tail that a container may rightly leave out."""
_AAC_LC_SAMPLES = 1024
_DECODED_PACKETS = 50


def measure(path: Path) -> Measured:
    """Milliseconds of the file's first audio stream. Raises NotAudio for anything else, whatever it holds."""
    try:
        with av.open(str(path), options=_OPTIONS, metadata_errors="replace") as container:
            seconds = _seconds(container, _head(path))
            extension = _extension(container.format.name)
    except (av.FFmpegError, ValueError, OverflowError, IndexError, ZeroDivisionError, MemoryError) as problem:
        raise NotAudio(f"it cannot be decoded ({type(problem).__name__})") from problem
    audio_ms = round(seconds * 1000)
    if audio_ms <= 0:
        raise NotAudio("it holds no audio")
    return Measured(audio_ms, extension)


def _decodes(packet: Any) -> bool:
    try:
        return bool(packet.decode())
    except av.FFmpegError:
        return False


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8192)


def _seconds(container: av.container.InputContainer, head: bytes) -> Fraction:
    if not container.streams.audio:
        raise NotAudio("it has no audio stream")
    stream = container.streams.audio[0]
    context = stream.codec_context
    if context is None:
        raise NotAudio("its codec is not known")
    is_opus = context.name in ("opus", "libopus")
    is_aac_lc = context.name == "aac" and context.profile in ("LC", "Main")
    by_container = by_packets = Fraction(0)
    ticks = 0
    packets = without_duration = 0
    first = last = None
    decoded = False
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            packets += 1
            # Note: random bytes can look like MP3; only a decoded frame proves that somebody can transcribe it.
            decoded = decoded or (packets <= _DECODED_PACKETS and _decodes(packet))
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
            if is_opus:
                by_packets += Fraction(_opus_samples(bytes(memoryview(packet)[:2])), 48_000)
    except av.FFmpegError:
        if not packets:
            raise
    if not decoded:
        raise NotAudio("it holds no audio that can be decoded")
    time_base = stream.time_base or Fraction(0)
    by_container = ticks * time_base
    if without_duration and first is not None and last is not None:
        by_container = max(by_container, (last - max(first, 0)) * time_base)
    if container.format.name == "mp3" and context.sample_rate:
        skipped_samples = _mp3_padding_samples(head)
        by_container -= min(Fraction(skipped_samples, context.sample_rate), _PADDING)
    if is_aac_lc and context.sample_rate:
        by_packets = Fraction(packets * _AAC_LC_SAMPLES, context.sample_rate)
    if by_packets and abs(by_packets - by_container) > max(_PADDING, by_packets / 50):
        return by_packets
    return by_container


def _mp3_padding_samples(head: bytes) -> int:
    """Delay and tail that the encoder noted in its LAME tag; other containers show them in their timestamps."""
    at = max(head.find(b"Xing"), head.find(b"Info"))
    if at < 0 or len(head) < at + 8:
        return 0
    flags = head[at + 7]
    tag = at + 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    if len(head) < tag + 24 or not head[tag : tag + 4].isalnum():
        return 0
    packed = int.from_bytes(head[tag + 21 : tag + 24])
    return (packed >> 12) + (packed & 0xFFF)


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
