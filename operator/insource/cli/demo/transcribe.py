"""Step `transcribe`: real speech through the OpenAI SDK and the gateway, with the word error rate beside it."""

from __future__ import annotations

import asyncio
import wave
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.table import Table

from insource.cli.demo.scene import TRANSCRIPTION, Scene

WORST_MEAN_WER = 0.10


@dataclass(frozen=True)
class Transcript:
    """One clip's answer beside its reference."""

    clip: str
    audio_s: float
    took_s: float
    request_id: str
    text: str
    reference: str
    wer: float


async def transcribe(scene: Scene) -> None:
    """Transcribe the five clips; fail if the mean word error rate is above 10 %."""
    scene.say("\n[bold]Five LibriVox clips through the OpenAI SDK[/bold] (only base_url and api_key changed)")
    client = scene.client(TRANSCRIPTION)
    rows: list[Transcript] = []
    table = Table(box=None, pad_edge=False, show_lines=False)
    for header, justify in (("clip", "left"), ("audio s", "right"), ("took s", "right"), ("WER", "right")):
        table.add_column(header, justify=justify)  # type: ignore[arg-type]
    table.add_column("transcript / [dim]reference[/dim]")
    with scene.console.status("transcribing") as status:
        for clip in scene.clips:
            status.update(f"transcribing {clip.name}")
            row = await asyncio.to_thread(transcribe_clip, client, clip, scene)
            rows.append(row)
            table.add_row(
                clip.stem[-4:],
                f"{row.audio_s:.2f}",
                f"{row.took_s:.2f}",
                f"{row.wer:.3f}",
                f"{row.text}\n[dim]{row.reference}[/dim]",
            )
    mean = fmean(row.wer for row in rows)
    scene.console.print(table)
    scene.say(f"mean WER [bold]{mean:.3f}[/bold] over {len(rows)} clips")
    scene.seen["transcripts"] = [asdict(row) for row in rows]
    scene.seen["mean_wer"] = mean
    scene.expect(mean <= WORST_MEAN_WER, f"the mean WER is {mean:.3f}, above {WORST_MEAN_WER}")


def transcribe_clip(client: Any, clip: Path, scene: Scene) -> Transcript:
    """One request; blocking."""
    from jiwer import wer
    from whisper_normalizer.english import EnglishTextNormalizer

    started = scene.clock.monotonic()
    with clip.open("rb") as audio:
        raw = client.audio.transcriptions.with_raw_response.create(file=audio, model="whisper-1")
    took_s = scene.clock.monotonic() - started
    text = raw.parse().text.strip()
    reference = clip.with_suffix(".txt").read_text().strip()
    normalise = EnglishTextNormalizer()
    return Transcript(
        clip=clip.name,
        audio_s=duration_s(clip),
        took_s=took_s,
        request_id=scene.served(raw),
        text=text,
        reference=reference,
        wer=wer(normalise(reference), normalise(text)),
    )


def duration_s(clip: Path) -> float:
    """Length of a WAV file of ours, in seconds."""
    with wave.open(str(clip)) as audio:
        seconds: float = audio.getnframes() / audio.getframerate()
    return seconds
