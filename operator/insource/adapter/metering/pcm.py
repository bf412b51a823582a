"""Milliseconds of a plain WAV in memory, without libav: the bytes of its samples that were received, never a claim.

Pure, and safe on what strangers send: it reads a few integers and does one division. It only takes files about which
it is bound to say the same as `metering.audio` does of the corrected copy (tested side by side); anything else gives
None, and goes to a measuring process.
"""

from __future__ import annotations

import io
import struct

from insource.adapter.metering.measured import Measured
from insource.adapter.metering.wav import correct

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_BITS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
_SUBFORMAT_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_LEAST_BYTES = 256
"""Whether libav recognises less than this depends on more than the header."""
_PADDING = frozenset({b"JUNK", b"PAD "})
_MAX_CHUNKS = 100
_PROBED_BYTES = 64 * 1024
"""libav looks for S/PDIF in what it has buffered, which is 32 KiB."""
_PROBED_PER_S = 4
"""libav looks for DTS in the first packet, which is at most a tenth of a second; we, in this part of one."""
_SPDIF = (b"\x72\xf8\x1f\x4e", b"\xf8\x72\x4e\x1f")
_DTS = (b"\x7f\xfe\x80\x01", b"\xfe\x7f\x01\x80", b"\x1f\xff\xe8\x00", b"\xff\x1f\x00\xe8")
"""Sync words of codecs that hide in PCM, which libav recognises; DTS in its four byte orders."""
_DTS_STARTS = frozenset(word[:2] for word in _DTS)


def with_true_sizes(data: bytes) -> bytes:
    """`data`, with a WAV's sizes corrected as `wav.correct_sizes` does in a file."""
    if not data.startswith(b"RIFF"):
        return data
    file = io.BytesIO(data)
    return file.getvalue() if correct(file, len(data)) else data


def measure_plain_wav(data: bytes) -> Measured | None:
    """Measure a WAV whose sizes are true, as they are after `with_true_sizes`; None for anything but plain PCM."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    frame: tuple[int, int] | None = None
    samples: range | None = None
    at = 12
    for _ in range(_MAX_CHUNKS):
        if len(data) - 1 <= at <= len(data) + 1:
            return _measured(data, frame, samples)
        if at + 8 > len(data):
            return None
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"fmt " and frame is None:
            frame = _frame(data[at + 8 : at + 8 + size])
            if frame is None:
                return None
        elif name == b"data" and frame is not None and samples is None:
            samples = range(at + 8, at + 8 + size)
            if samples.stop > len(data):
                return None
        elif not _harmless(name, data[at + 8 : at + 8 + size], size):
            return None
        at += 8 + size + size % 2
    return None


def _frame(form: bytes) -> tuple[int, int] | None:
    """(samples per second, bytes per sample of all channels), if the format is plain."""
    if len(form) not in (16, 18, 40):
        return None
    code, channels, rate, byte_rate, align, bits = struct.unpack_from("<HHIIHH", form)
    if code == _EXTENSIBLE:
        if len(form) != 40:
            return None
        extra, valid_bits, _mask, code = struct.unpack_from("<HHIH", form, 16)
        if extra != 22 or valid_bits != bits or form[26:] != _SUBFORMAT_TAIL:
            return None
    elif len(form) == 40 or form[16:] not in (b"", b"\0\0"):
        return None
    honest = align == channels * bits // 8 and byte_rate == rate * align
    plain = bits in _BITS.get(code, ()) and 1 <= channels <= 8 and 1000 <= rate <= 384_000
    return (rate, align) if honest and plain else None


def _harmless(name: bytes, content: bytes, size: int) -> bool:
    """Whether a chunk says nothing about the samples, in a form that libav does not stumble over."""
    if len(content) != size:
        return False
    if name == b"fact":
        return size == 4
    if name != b"LIST":
        return name in _PADDING
    at = 4
    while at + 8 <= size:
        item = int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8 + item + item % 2
    return content[:4] == b"INFO" and at == size


def _measured(data: bytes, frame: tuple[int, int] | None, samples: range | None) -> Measured | None:
    if frame is None or samples is None or len(samples) < _LEAST_BYTES:
        return None
    rate, align = frame
    packet = max(_PROBED_BYTES // 8, rate * align // _PROBED_PER_S)
    if _may_be_compressed(data[samples.start : min(samples.stop, samples.start + max(packet, _PROBED_BYTES))], packet):
        return None
    audio_ms, rest = divmod(len(samples) // align * 1000, rate)
    audio_ms += 2 * rest > rate or (2 * rest == rate and audio_ms % 2)  # to even, as `round` does
    return Measured(audio_ms, "wav") if audio_ms > 0 else None


def _may_be_compressed(head: bytes, packet: int) -> bool:
    # Note: silence is zeros, and a search for a word that holds zeros stops at every sample: its start goes first.
    if any(head.find(start, 0, packet) >= 0 for start in _DTS_STARTS) and any(
        head.rfind(word, 0, packet) >= 0 for word in _DTS
    ):
        return True
    return any(head.find(word, 0, _PROBED_BYTES) >= 0 for word in _SPDIF)
