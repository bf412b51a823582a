"""What a server must do before its pod is Ready: a second of its modality's work, checked as a client's would be."""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import AsyncGenerator, Mapping

from insource.adapter.dialects.exchange import bounded, object_of
from insource.adapter.dialects.openai import (
    COMPLETIONS,
    EMBEDDINGS,
    IMAGE_GENERATIONS,
    SPEECH,
)
from insource.adapter.dialects.openai_transcriptions import TRANSCRIPTIONS
from insource.adapter.dialects.seam import Answer, Dialect, Dialects, R, Recording, Work
from insource.adapter.embeddings import encoded
from insource.adapter.metering.pictures import PictureScanner
from insource.adapter.parameters import Transcription
from insource.adapter.refusals import server_failure
from insource.adapter.requests import Completion, Embedding, ImageGeneration, Speech
from insource.adapter.speech import sound
from insource.adapter.text import is_completion
from insource.wire.vocabulary import Modality, Unit

WARM_UP_PATHS: Mapping[Modality, str] = {
    Modality.TRANSCRIPTION: TRANSCRIPTIONS,
    Modality.SPEECH: SPEECH,
    Modality.IMAGE: IMAGE_GENERATIONS,
    Modality.TEXT: COMPLETIONS,
    Modality.EMBEDDING: EMBEDDINGS,
}
"""Modality -> the path below the base URL that a warm-up asks."""
WARM_UP_WORK: Mapping[Modality, Mapping[Unit, int]] = {Modality.IMAGE: {Unit.IMAGES: 1}}
"""What is more than the deadline's floor is meant for."""
VOICE = "alloy"
"""OpenAI's default, which servers in its shape know beside their own."""
PICTURE = "a red circle"

RATE_HZ = 16_000
_FORMANTS = ((700, 0.5), (1220, 0.3), (2600, 0.2))


async def warm_up(dialects: Dialects, modality: Modality, model: str, request_id: str) -> None:
    """Have the server do a little work. Raises a Refusal if it does not."""

    def work(wanted: R) -> Work[R]:
        return Work(wanted, model, model, request_id)

    async def whole(dialect: Dialect[R] | None, wanted: R) -> Answer:
        assert dialect is not None
        async with dialect.call(work(wanted)) as given:
            return Answer(given.content_type, _again(await bounded(given.chunks)))

    if modality is Modality.TRANSCRIPTION:
        assert dialects.transcription is not None
        recording = Recording(Transcription(model=model), tone_wav(), "warm-up.wav", "wav", 1000)
        async with dialects.transcription.call(work(recording)):
            return
    if modality is Modality.SPEECH:
        speech = Speech(model=model, input="Ready.", voice=VOICE, response_format="wav")
        async for _ in sound(await whole(dialects.speech, speech), speech):
            pass
    elif modality is Modality.TEXT:
        text = await whole(dialects.completion, Completion(model=model, prompt="Ready", max_tokens=1))
        if not is_completion(object_of(await bounded(text.chunks))):
            raise server_failure("The backend's answer is no completion.", reason="invalid_answer")
    elif modality is Modality.EMBEDDING:
        vectors = await whole(dialects.embedding, Embedding(model=model, input="Ready."))
        try:
            encoded(object_of(await bounded(vectors.chunks)), 1, "float")
        except ValueError as problem:
            raise server_failure(f"The backend's answer is no embedding: {problem}.", reason="invalid_answer") from None
    else:
        scanner = PictureScanner()
        picture = await whole(dialects.image_generation, ImageGeneration(model=model, prompt=PICTURE))
        scanner.feed(await bounded(picture.chunks))
        if not scanner.complete or not scanner.pictures:
            raise server_failure("The backend's answer has no picture.", reason="invalid_answer")


async def _again(content: bytes) -> AsyncGenerator[bytes]:
    yield content


@functools.cache
def tone_wav(seconds: float = 1.0) -> bytes:
    """A 16 kHz mono WAV: a 120 Hz buzz shaped like the vowel in "father", rising and falling four times a second."""
    count = int(RATE_HZ * seconds)
    samples = (_sample(index / RATE_HZ) for index in range(count))
    data = struct.pack(f"<{count}h", *(int(12_000 * sample) for sample in samples))
    form = struct.pack("<HHIIHH", 1, 1, RATE_HZ, RATE_HZ * 2, 2, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + form
        + b"data" + struct.pack("<I", len(data)) + data
    )  # fmt: skip


def _sample(at: float) -> float:
    envelope = 0.5 - 0.5 * math.cos(2 * math.pi * 4 * at)
    phase = at * 120 % 1 / 120
    buzz = sum(
        weight * math.exp(-300 * phase) * math.sin(2 * math.pi * formant * phase) for formant, weight in _FORMANTS
    )
    return envelope * buzz
