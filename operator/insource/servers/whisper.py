"""The Whisper server: real English speech recognition on CPUs, by faster-whisper and the tiny.en weights.

Beam 5 and temperature 0, so that the same audio gives the same text; int8, one thread per slot (a second one was not
faster under load: research/models.md). The heavy libraries are imported while the server already answers its probes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import structlog

from insource.servers.application import TranscriptionServer
from insource.servers.model_files import ModelUnavailableError, delivered_model, locate_model, verify_model
from insource.servers.program import run_server
from insource.servers.recognition import BadAudioError, Options, Recogniser, Recognition
from insource.servers.settings import ServerSettings
from insource.servers.transcripts import Segment, Word

log = structlog.get_logger("insource.servers")

SAMPLE_RATE = 16_000
SHORTEST_S = 0.1
BEAM_SIZE = 5


def run_whisper(settings: ServerSettings) -> None:
    """Serve until SIGTERM. Exit status 1, and the reason in the log, if the weights are missing or not those wanted."""
    try:
        folder = delivered_model(settings.model_dir) if settings.model_dir else locate_model(settings.model_uri)
        run_server(settings, TranscriptionServer(settings, whisper_loader(folder, settings)))
    except ModelUnavailableError as error:
        log.error("model_unavailable", problem=str(error))
        raise SystemExit(1) from None


def whisper_loader(folder: Path, settings: ServerSettings) -> Callable[[], Recogniser]:
    """What loads the model of `folder` when it is called; it may be called in a thread."""

    def load() -> Recogniser:
        verify_model(folder, settings.model_sha256)
        return WhisperRecogniser(folder, settings.slots)

    return load


class WhisperRecogniser:
    """Whisper tiny.en in this process; `slots` recognitions may run at once, on one thread each."""

    def __init__(self, folder: Path, slots: int) -> None:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported, by faster_whisper
        from faster_whisper.transcribe import WhisperModel

        self._model = WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=1, num_workers=slots, local_files_only=True
        )

    def recognise(self, audio: IO[bytes], options: Options) -> Recognition:
        """Decode to 16 kHz mono and begin; each segment is decoded when it is asked for. Raises `BadAudioError`."""
        samples = decode(audio)
        duration_s = len(samples) / SAMPLE_RATE
        if duration_s < SHORTEST_S:
            raise BadAudioError(f"the audio is {duration_s:.3f} s long, at least {SHORTEST_S} s are needed")
        segments, _ = self._model.transcribe(
            samples,
            language="en",
            beam_size=BEAM_SIZE,
            temperature=options.temperature,
            initial_prompt=options.prompt,
            word_timestamps=options.words,
        )
        return Recognition(duration_s, _segments(segments))


def decode(audio: IO[bytes]) -> Any:
    """`audio` in any container that FFmpeg knows, as float32 samples at 16 kHz, mono. Raises `BadAudioError`.

    A file that breaks off is decoded as far as it goes; one with nothing to decode is bad.
    """
    import av
    import numpy

    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    chunks: list[Any] = []
    try:
        with av.open(audio, mode="r", metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise BadAudioError("there is no audio track in it")
            for frame in _frames(container):
                chunks += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
            chunks += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    except (av.FFmpegError, ValueError) as error:
        raise BadAudioError(getattr(error, "strerror", None) or str(error)) from error
    if not chunks:
        raise BadAudioError("there is no sound in it")
    samples = numpy.concatenate(chunks)
    return samples.astype(numpy.float32) / 32_768.0


def _frames(container: Any) -> Iterator[Any]:
    import av

    decoded = 0
    try:
        for frame in container.decode(audio=0):
            decoded += 1
            yield frame
    except av.FFmpegError:
        if not decoded:
            raise


def _segments(found: Iterable[Any]) -> Iterator[Segment]:
    for segment in found:
        yield Segment(
            start=segment.start,
            end=segment.end,
            text=segment.text,
            words=tuple(Word(word.word, word.start, word.end) for word in segment.words or ()),
            tokens=tuple(segment.tokens),
            seek=segment.seek,
            temperature=segment.temperature or 0.0,
            avg_logprob=segment.avg_logprob,
            compression_ratio=segment.compression_ratio,
            no_speech_prob=segment.no_speech_prob,
        )
