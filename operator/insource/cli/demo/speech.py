"""Step `speech`: a sentence is spoken, drawn as a waveform, and heard back by the recogniser."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from insource.cli.demo.scene import SPEECH, TRANSCRIPTION, Scene

SENTENCE = "The train to the city leaves at seven in the morning, and arrives before noon."
WORST_WER = 0.35
COLUMNS = 100
BLOCKS = " ▁▂▃▄▅▆▇█"


async def speech(scene: Scene) -> None:
    """Speak one sentence, save it, show it, and have it recognised; fail if the words are not heard."""
    from jiwer import wer
    from whisper_normalizer.english import EnglishTextNormalizer

    scene.say(f"\n[bold]Speech[/bold]: {SENTENCE}")
    client = scene.client(SPEECH)

    def speak() -> Any:
        return client.audio.speech.with_raw_response.create(
            model="tts-1", voice="alloy", input=SENTENCE, response_format="wav"
        )

    raw, took_s = await scene.work("speaking", speak)
    request_id = scene.served(raw)
    samples, rate = pcm_of(raw.content)
    path = scene.folder / "speech.wav"
    save_wav(path.as_posix(), samples, rate)
    audio_s = len(samples) / rate
    for line in waveform(samples, COLUMNS):
        scene.say(f"[cyan]{line}[/cyan]")
    scene.say(f"{audio_s:.2f} s of speech in {took_s:.2f} s, saved as {path}")

    def hear() -> Any:
        return scene.client(TRANSCRIPTION).audio.transcriptions.with_raw_response.create(
            file=("speech.wav", path.read_bytes()), model="whisper-1"
        )

    heard, _ = await scene.work("listening", hear)
    scene.served(heard)
    said = str(heard.parse().text).strip()
    normal = EnglishTextNormalizer()
    rate_of_errors = float(wer(normal(SENTENCE), normal(said)))
    scene.say(f"heard back by [bold]dictation[/bold], WER {rate_of_errors:.3f}: {said}")
    scene.seen["speech"] = {
        "text": SENTENCE,
        "request_id": request_id,
        "audio_s": round(audio_s, 3),
        "took_s": round(took_s, 3),
        "file": str(path),
        "heard": said,
        "wer": rate_of_errors,
    }
    scene.expect(rate_of_errors <= WORST_WER, f"the speech was heard as {said!r}: WER {rate_of_errors:.3f}")


def pcm_of(content: bytes) -> tuple[npt.NDArray[np.int16], int]:
    """The samples (mono, 16 bits) of a WAV that was streamed, whose header gives no length, and their rate in Hz."""
    with wave.open(BytesIO(content)) as audio:
        raw, rate = audio.readframes(len(content)), audio.getframerate()
    return np.frombuffer(raw[: len(raw) // 2 * 2], dtype="<i2"), rate


def save_wav(path: str, samples: npt.NDArray[np.int16], rate: int) -> None:
    """Write a WAV with a length in its header, which every player takes."""
    with wave.open(path, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(rate)
        audio.writeframes(samples.tobytes())


def waveform(samples: npt.NDArray[np.int16], columns: int, rows: int = 2) -> Sequence[str]:
    """The loudness (root mean square, against the loudest column) over time, as lines of block characters."""
    if not len(samples):
        return [" " * columns] * rows
    parts = np.array_split(samples.astype(np.float64), columns)
    loudness = np.array([np.sqrt(np.mean(part**2)) if len(part) else 0.0 for part in parts])
    steps = len(BLOCKS) - 1
    heights = np.rint(loudness / (loudness.max() or 1) * rows * steps).astype(int)
    return [
        "".join(BLOCKS[min(max(height - row * steps, 0), steps)] for height in heights) for row in reversed(range(rows))
    ]
