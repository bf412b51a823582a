"""What the fuzzer begins with where there is no corpus: one good input or two of each kind."""

from __future__ import annotations

BOUNDARY = "b0undary"


def _part(name: str, content: bytes, more: str = "") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n'
    return head.encode() + b"\r\n" + content + b"\r\n"


_END = f"--{BOUNDARY}--\r\n".encode()
_WAV = '; filename="a.wav"\r\nContent-Type: audio/wav'
_PNG = '; filename="a.png"\r\nContent-Type: image/png'
_FORM = _part("model", b"whisper-1") + _part("file", b"RIFF\0\0", _WAV) + _END
_MORE = (
    _part("file", b"RIFF\r\n--", _WAV)
    + _part("model", b"m")
    + _part("timestamp_granularities[]", b"word")
    + _part("timestamp_granularities[]", b"segment")
    + _END
)
_EDIT = _part("model", b"m") + _part("image[]", b"\x89PNG", _PNG) + _part("mask", b"\x89PNG", _PNG)
_EDIT += _part("prompt", b"a cat") + _part("n", b"2") + _END
_SPEAK = (
    b'<speak version="1.0" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang="en-US">'
    b'<voice name="en-US-Harper:MAI-Voice-2">'
    b'<prosody rate="+10%">Hello &amp; <break/>good-bye</prosody></voice></speak>'
)
SEEDS: dict[str, tuple[bytes, ...]] = {
    "plain_form": (_FORM, _MORE, _EDIT),
    "upload": (b"\x40" + _FORM, b"\x03" + _MORE, b"\x07" + _FORM[:-4]),
    "form_as_built": (b"\x08\x04\x00RIFF\x01\x01\x00m", b"\x08\x00\x01\x03\x02\x11en\x28\x03\x23abc"),
    "picture_form": (b"\x40" + _EDIT, b"\x03" + _EDIT[:-20]),
    "vendor_parts": (_FORM, _MORE),
    "server_form": (_FORM, _MORE),
    "ssml": (b"\x4b\x0cen-US-HarperHello <b>&amp;\r\n", b"\x96\x00Gr\xc3\xbc\xc3\x9fe ]]> \xf0\x9f\x98\x80"),
    "vendor_ssml": (_SPEAK, b'<?xml version="1.0" encoding="utf-8"?>' + _SPEAK),
}
