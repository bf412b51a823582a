"""Raw HTTP requests of a transcription, as the generator sends them."""

from __future__ import annotations

import struct

BOUNDARY = "insourcebenchboundary"
RATE = 16_000


def wav(seconds: float) -> bytes:
    """16 kHz mono silence."""
    size = int(seconds * RATE) * 2
    return _wav_head(size) + bytes(size)


def request(path: str, audio: bytes, authorization: str = "") -> bytes:
    """A whole POST of `audio` with model `bench`, keep-alive."""
    before, after = _form()
    return _head(path, len(before) + len(audio) + len(after), authorization) + before + audio + after


def upload_ends(path: str, size: int, authorization: str) -> tuple[bytes, bytes]:
    """What comes before and after `size` bytes of samples."""
    before, after = _form()
    audio_head = _wav_head(size)
    length = len(before) + len(audio_head) + size + len(after)
    return _head(path, length, authorization) + before + audio_head, after


def _head(path: str, length: int, authorization: str) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "host: bench",
        f"content-type: multipart/form-data; boundary={BOUNDARY}",
        f"content-length: {length}",
    ]
    if authorization:
        lines.append(f"authorization: {authorization}")
    return "\r\n".join([*lines, "", ""]).encode()


def _form() -> tuple[bytes, bytes]:
    before = (
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="model"\r\n\r\nbench\r\n'
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n'
        "content-type: audio/wav\r\n\r\n"
    )
    return before.encode(), f"\r\n--{BOUNDARY}--\r\n".encode()


def _wav_head(size: int) -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, RATE, RATE * 2, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + size)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", size)
    )
