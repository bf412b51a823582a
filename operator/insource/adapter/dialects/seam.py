"""What a wire format is to the rest of the adapter: one small face per modality, and one value for all of them.

A dialect turns a checked request in OpenAI's words into its vendor's, and the vendor's answer back into OpenAI's.
What the vendor cannot honour it refuses by the parameter's name before the call; it never changes a format silently.
It neither meters nor retries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from insource.adapter.parameters import Transcription
from insource.adapter.picture_form import Editing
from insource.adapter.requests import ChatCompletion, Completion, Embedding, ImageGeneration, Speech
from insource.wire.vocabulary import Unit

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
R_contra = TypeVar("R_contra", contravariant=True)


@dataclass(frozen=True)
class Work(Generic[R_co]):
    """What one attempt asks of its backend."""

    wanted: R_co
    model: str
    """The backend's name for the model."""
    shown_model: str
    """The client's."""
    request_id: str
    hop: str = ""
    number: int = 0
    """Of the attempt; 0 for what is none, such as a warm-up."""


@dataclass(frozen=True)
class Recording:
    """What is to be transcribed, and how."""

    wanted: Transcription
    content: bytes | Path
    """The audio, or the file that holds it."""
    filename: str
    extension: str
    """Of what the audio is, as we found it, whatever its name says: `wav`, `mp3`, `flac`, `ogg`, `m4a`, `webm`."""
    audio_ms: int


@dataclass(frozen=True)
class Transcript:
    """A backend's 2xx to a transcription: either a whole JSON object, or events as they come."""

    body: Mapping[str, Any] | None
    events: AsyncIterator[dict[str, Any]] | None


@dataclass(frozen=True)
class Answer:
    """A backend's 2xx in OpenAI's shape for the modality, as it comes. Whether it is one is checked by who reads it."""

    content_type: str
    """Without parameters, in lower case."""
    chunks: AsyncIterator[bytes]
    """Raises OSError or aiohttp.ClientError if it breaks off."""


class TranscriptionDialect(Protocol):
    """How one wire format transcribes, or translates what is said into English."""

    def check_possible(self, wanted: Transcription, model: str) -> None:
        """Raise 400 for what this model cannot do."""
        ...

    def check_recording(self, recording: Recording, model: str) -> None:
        """Raise 400 or 413 for audio that this model does not read; nothing is sent then."""
        ...

    def call(self, work: Work[Recording]) -> AbstractAsyncContextManager[Transcript]:
        """Ask the backend. Raises a Refusal of the outcome table; the caller bounds the time."""
        ...


class Dialect(Protocol[R_contra]):
    """How one wire format does what one path of OpenAI's API asks for."""

    def check_possible(self, wanted: R_contra, model: str) -> None:
        """Raise 400 for what this model cannot do."""
        ...

    def billed(self, wanted: R_contra, model: str) -> Mapping[Unit, int]:  # noqa: ARG002
        """What the vendor bills by its published rule, where that is not our count and its answers are silent."""
        return {}

    def call(self, work: Work[R_contra]) -> AbstractAsyncContextManager[Answer]:
        """Ask the backend. Raises a Refusal of the outcome table; the caller bounds the time."""
        ...


@dataclass(frozen=True)
class Dialects:
    """All that one backend speaks; None: it has no such thing."""

    transcription: TranscriptionDialect | None = None
    translation: TranscriptionDialect | None = None
    speech: Dialect[Speech] | None = None
    image_generation: Dialect[ImageGeneration] | None = None
    image_edit: Dialect[Editing] | None = None
    completion: Dialect[Completion] | None = None
    chat_completion: Dialect[ChatCompletion] | None = None
    embedding: Dialect[Embedding] | None = None
