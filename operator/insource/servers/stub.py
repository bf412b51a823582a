"""The stub server: OpenAI's wire format with a fixed text, at once or delayed. For tests and benches only.

It recognises nothing and says so in its text. It exists because a real recogniser cannot answer 20 or 300 requests a
second on two cores; what it checks, counts and streams is exactly what the Whisper server does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import IO

from insource.servers.application import TranscriptionServer
from insource.servers.program import run_server
from insource.servers.recognition import BadAudioError, Options, Recognition
from insource.servers.settings import StubSettings
from insource.servers.transcripts import Segment, Word

CONTAINERS = {
    b"RIFF": "wav",
    b"OggS": "ogg",
    b"fLaC": "flac",
    b"\x1a\x45\xdf\xa3": "webm",
    b"ID3\x03": "mp3",
    b"ID3\x04": "mp3",
}
WAV_BYTE_RATE_AT = 28
NOMINAL_BYTES_PER_S = 32_000


def run_stub(settings: StubSettings) -> None:
    """Serve until SIGTERM."""
    run_server(settings.server, stub_server(settings))


def stub_server(settings: StubSettings) -> TranscriptionServer:
    """The server, for programs that bring their own event loop."""
    return TranscriptionServer(settings.server, lambda: StubRecogniser(settings))


class StubRecogniser:
    """Fixed words, one segment per sentence; a wait stands for the work."""

    def __init__(self, settings: StubSettings) -> None:
        self._settings = settings
        self._never = threading.Event()

    def recognise(self, audio: IO[bytes], options: Options) -> Recognition:
        """Look at the first bytes only: the length is a guess unless it is a WAV. Raises `BadAudioError`."""
        del options
        head = audio.read(44)
        if head[:4] not in CONTAINERS and head[4:8] != b"ftyp" and not _is_mpeg_frame(head):
            raise BadAudioError("this is no audio file")
        size = audio.seek(0, 2)
        rate = int.from_bytes(head[WAV_BYTE_RATE_AT : WAV_BYTE_RATE_AT + 4], "little") if head[:4] == b"RIFF" else 0
        duration_s = size / (rate or NOMINAL_BYTES_PER_S)
        return Recognition(duration_s, self._segments(duration_s))

    def _segments(self, duration_s: float) -> Iterator[Segment]:
        sentences = [part for part in self._settings.text.replace(". ", ".\n").split("\n") if part]
        wait_s = self._settings.delay_ms / 1000 + self._settings.delay_per_audio_s * duration_s
        for number, sentence in enumerate(sentences):
            self._never.wait(wait_s / len(sentences))
            start, end = (duration_s * n / len(sentences) for n in (number, number + 1))
            words = sentence.split()
            each = (end - start) / max(1, len(words))
            yield Segment(
                start,
                end,
                f" {sentence}",
                words=tuple(Word(w, start + n * each, start + (n + 1) * each) for n, w in enumerate(words)),
            )


def _is_mpeg_frame(head: bytes) -> bool:
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
