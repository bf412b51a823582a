"""`python -m tests.vendors_document` writes the tables of docs/vendors.md by asking the dialects themselves."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from insource.adapter.dialects.azure_images import MOST_PIXELS, PICTURE_MOST_BYTES, SMALLEST_SIDE
from insource.adapter.dialects.fast_transcription import MOST_BYTES, READS
from insource.adapter.dialects.openai import openai_dialects
from insource.adapter.dialects.openai_transcriptions import OPENAI_LIMITS
from insource.adapter.dialects.seam import Dialects
from insource.adapter.dialects.ssml_speech import FASTEST, LONGEST_S, OUTPUT_FORMATS, SLOWEST
from insource.adapter.dialects.vendors import vendor_dialects
from insource.adapter.parameters import FORMATS, IMPOSSIBLE, Transcription
from insource.adapter.picture_form import Editing, Picture
from insource.adapter.refusals import Refusal
from insource.adapter.requests import ChatCompletion, Completion, Embedding, ImageEdit, ImageGeneration, Request, Speech
from insource.env import system_env
from insource.wire.vocabulary import Dialect

DOCUMENT = Path(__file__).parents[1] / "docs" / "vendors.md"
IN_HOUSE = "in-house"
MODELS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    Dialect.OPENAI: {
        "transcription": ("whisper-1", "gpt-4o-transcribe"),
        "speech": ("tts-1", "gpt-4o-mini-tts"),
        "image": ("dall-e-3", "gpt-image-2"),
    },
    Dialect.AZURE_OPENAI: {
        "transcription": ("whisper", "gpt-4o-transcribe"),
        "speech": ("tts-1", "gpt-4o-mini-tts"),
        "image": ("dall-e-3", "gpt-image-2"),
    },
    Dialect.AZURE_SPEECH: {
        "transcription": ("MAI-Transcribe-1.5", "MAI-Transcribe-2"),
        "speech": ("MAI-Voice-2-Flash",),
    },
    Dialect.AZURE_IMAGES: {"image": ("MAI-Image-2", "MAI-Image-2.6")},
}
"""Models whose abilities differ."""
VOICE = "en-US-Harper"
SPEECH_FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")


@dataclass(frozen=True)
class Endpoint:
    """One path: the attribute of `Dialects` that serves it, its good request, and others to try, by parameter."""

    path: str
    face: str
    kind: str
    make: Callable[..., Any]
    formats: tuple[str, ...] = ()
    streams: Mapping[str, Any] | None = None
    tries: tuple[tuple[str, Mapping[str, Any]], ...] = ()


def _transcription(**changes: Any) -> Transcription:
    return Transcription(model="m", **changes)


def _translation(**changes: Any) -> Transcription:
    return Transcription(model="m", task="translate", **changes)


def _speech(**changes: Any) -> Speech:
    return Speech.of({"model": "m", "input": "Hello", "voice": VOICE, **changes})


def _image(**changes: Any) -> ImageGeneration:
    return ImageGeneration.of({"model": "m", "prompt": "a circle", **changes})


def _edit(*, pictures: tuple[str, ...] = ("image",), **changes: Any) -> Editing:
    path = Path(tempfile.gettempdir()) / "insource-vendors-document.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    stored = tuple(Picture(name, "a.png", "image/png", path) for name in pictures)
    return Editing(ImageEdit.of({"model": "m", "prompt": "blue", **changes}), stored)


def _of(kind: type[Request], **good: Any) -> Callable[..., Request]:
    return lambda **changes: kind.of({"model": "m", **good, **changes})


_IMAGE_TRIES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("n above 1", {"n": 2}),
    ("response_format url", {"response_format": "url"}),
    ("output_format other than png", {"output_format": "jpeg"}),
    ("output_compression", {"output_compression": 50}),
    ("quality", {"quality": "high"}),
    ("background", {"background": "transparent"}),
    ("moderation", {"moderation": "low"}),
    ("style", {"style": "natural"}),
)
ENDPOINTS = (
    Endpoint(
        "/v1/audio/transcriptions", "transcription", "transcription", _transcription, FORMATS, {"streaming": True},
        (
            ("language", {"language": "de"}), ("prompt", {"prompt": "x"}), ("temperature", {"temperature": "0.5"}),
            (
                "timestamp_granularities[] word",
                {"response_format": "verbose_json", "granularities": ("word",)},
            ),
        ),
    ),
    Endpoint(
        "/v1/audio/translations", "translation", "transcription", _translation, FORMATS, None,
        (("everything", {}), ("prompt", {"prompt": "x"}), ("temperature", {"temperature": "0.5"})),
    ),
    Endpoint(
        "/v1/audio/speech", "speech", "speech", _speech, SPEECH_FORMATS, {"stream_format": "sse"},
        (
            ("instructions", {"instructions": "slowly"}), ("OpenAI's voices", {"voice": "alloy"}),
            ("speed below 0.5", {"speed": 0.25}), ("speed above 2", {"speed": 4}),
        ),
    ),
    Endpoint("/v1/images/generations", "image_generation", "image", _image, (), None,
             (("size 512x512", {"size": "512x512"}), ("size 1536x1024", {"size": "1536x1024"}), *_IMAGE_TRIES)),
    Endpoint("/v1/images/edits", "image_edit", "image", _edit, (), None,
             (("everything", {}), ("size", {"size": "1024x1024"}), ("mask", {"pictures": ("image", "mask")}),
              ("more than one picture", {"pictures": ("image[]", "image[]")}),
              ("input_fidelity", {"input_fidelity": "high"}), *_IMAGE_TRIES)),
    Endpoint("/v1/completions", "completion", "text", _of(Completion, prompt="x"), (), {"stream": True}),
    Endpoint("/v1/chat/completions", "chat_completion", "text",
             _of(ChatCompletion, messages=[{"role": "user", "content": "x"}]), (), {"stream": True}),
    Endpoint("/v1/embeddings", "embedding", "embedding", _of(Embedding, input="x")),
)  # fmt: skip


def faces() -> dict[str, Dialects]:
    """Of a server of ours, and of each dialect."""

    def calls(path: str) -> Any:
        return path

    env = system_env()
    found = {IN_HOUSE: openai_dialects(calls, env)}
    for dialect in Dialect:
        found[dialect.value] = vendor_dialects(
            dialect, calls, env, lambda: "key", endpoint="https://a.example", api_version="2024-10-21"
        )
    return found


def written(text: str) -> str:
    """The document with its tables as they should be."""
    for name, lines in (("paths", paths()), ("refused", refused()), ("never", never()), ("limits", limits())):
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        assert begin in text, f"{DOCUMENT}: the mark {begin} is missing"
        table = "\n".join((begin, *lines, end))
        text = re.sub(f"{begin}.*?{end}", lambda _, all_=table: all_, text, flags=re.DOTALL)
    return text


def paths() -> Iterator[str]:
    """Which path each dialect has."""
    found = faces()
    yield f"| path | {' | '.join(found)} |"
    yield "|---" * (len(found) + 1) + "|"
    for endpoint in ENDPOINTS:
        cells = ["yes" if getattr(each, endpoint.face) is not None else "-" for each in found.values()]
        yield f"| `{endpoint.path}` | {' | '.join(cells)} |"


def refused() -> Iterator[str]:
    """What each model of each dialect does, and what is refused by name."""
    yield "| dialect | path | models | formats | stream | refused by name |"
    yield "|---|---|---|---|---|---|"
    for dialect, each in faces().items():
        for endpoint in ENDPOINTS:
            face = getattr(each, endpoint.face)
            if face is None:
                continue
            rows = {}
            for model in MODELS.get(dialect, {}).get(endpoint.kind, ("any",)):
                rows.setdefault(_row(face, endpoint, model), []).append(model)
            for (formats, stream, names), models in rows.items():
                shown = "any" if models == ["any"] or len(rows) == 1 else ", ".join(f"`{one}`" for one in models)
                yield f"| {dialect} | `{endpoint.path}` | {shown} | {formats} | {stream} | {names} |"


def _row(face: Any, endpoint: Endpoint, model: str) -> tuple[str, str, str]:
    def able(changes: Mapping[str, Any]) -> bool:
        try:
            face.check_possible(endpoint.make(**changes), model)
        except Refusal:
            return False
        return True

    formats = ", ".join(one for one in endpoint.formats if able({"response_format": one})) or "-"
    stream = "-" if endpoint.streams is None else "yes" if able(endpoint.streams) else "no"
    names = [name for name, changes in endpoint.tries if not able(changes)]
    return formats, stream, "everything" if "everything" in names else ", ".join(names) or "-"


def never() -> Iterator[str]:
    """What nobody is asked for."""
    yield "| path | refused by name, whoever serves |"
    yield "|---|---|"
    yield f"| `/v1/audio/transcriptions` | {', '.join(IMPOSSIBLE)} |"
    for path, kind in (
        ("/v1/images/generations`, `/v1/images/edits", ImageGeneration),
        ("/v1/completions", Completion),
        ("/v1/chat/completions", ChatCompletion),
    ):
        yield f"| `{path}` | {', '.join(kind.impossible)} |"


def limits() -> Iterator[str]:
    """What is checked before the call."""
    yield "| dialect | checked before the call |"
    yield "|---|---|"
    longest_s = OPENAI_LIMITS.json_only_ms // 1000
    yield (
        f"| OpenAI, AzureOpenAI | audio of at most {OPENAI_LIMITS.file_bytes} bytes; {longest_s} seconds for the "
        "`gpt-4o` and `gpt-transcribe` models |"
    )
    yield (
        f"| AzureSpeech | audio that is {', '.join(READS)}, of at most {MOST_BYTES} bytes; text of characters that "
        f"XML has, said in at most {LONGEST_S} seconds by our estimate, {SLOWEST:g} to {FASTEST:g} times as fast, "
        f"as {', '.join(OUTPUT_FORMATS)} |"
    )
    yield (
        f"| AzureImages | sides of at least {SMALLEST_SIDE}, at most {MOST_PIXELS} pixels; one PNG or JPEG of at most "
        f"{PICTURE_MOST_BYTES} bytes to edit |"
    )
    yield "| all | `spec.limits.requestsPerMinute` and `concurrency`, which you set to what the vendor grants |"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
