"""The closed word lists of the product: roles, outcomes, units, modalities."""

from __future__ import annotations

from enum import StrEnum


class Modality(StrEnum):
    """What kind of work a ModelDeployment does."""

    TRANSCRIPTION = "Transcription"
    SPEECH = "Speech"
    IMAGE = "Image"
    TEXT = "Text"
    EMBEDDING = "Embedding"


class Role(StrEnum):
    """Why an attempt was made. Each has its own adapter port (`headers.ROLE_PORTS`)."""

    SERVE = "serve"
    RESCUE = "rescue"
    SPILL = "spill"
    SHADOW = "shadow"


class Outcome(StrEnum):
    """How an attempt ended. One table for evidence, ledger and metrics; the status code alone never decides."""

    OK = "ok"
    CLIENT = "client"
    SHED = "shed"
    SERVER = "server"
    TIMEOUT = "timeout"
    REFUSED_CREDENTIALS = "refused_credentials"
    REFUSED_POLICY = "refused_policy"
    GONE = "gone"
    UNKNOWN = "unknown"


class BackendKind(StrEnum):
    """Where a backend runs."""

    IN_HOUSE = "inHouse"
    VENDOR = "vendor"


class Dialect(StrEnum):
    """A vendor's wire format."""

    OPENAI = "OpenAI"
    OPENAI_COMPATIBLE = "OpenAICompatible"
    """OpenAI's format from somebody else, such as Groq."""
    AZURE_OPENAI = "AzureOpenAI"
    AZURE_SPEECH = "AzureSpeech"
    """Fast transcription by MAI-Transcribe, and SSML spoken by MAI-Voice."""
    AZURE_IMAGES = "AzureImages"
    """MAI-Image."""


LISTS_MODELS = frozenset({Dialect.OPENAI, Dialect.OPENAI_COMPATIBLE})
"""Those with a list of models by the ids that backends name (`GET /models`). Azure OpenAI lists base models by version,
and no deployments; Azure's other services have no list."""


class Unit(StrEnum):
    """What work is billed in. Quantities are integers in exactly this unit."""

    AUDIO_MS = "audio_ms"
    CHARACTERS = "characters"
    IMAGES = "images"
    PIXELS = "pixels"
    """Of all pictures together: width x height of each."""
    PIXEL_STEPS = "pixel_steps"
    """Pixels x the sampling steps that each took."""
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    INPUT_IMAGE_TOKENS = "input_image_tokens"
    """Of pictures that go in."""
    IMAGE_TOKENS = "image_tokens"
    """Of pictures that come out."""


class UsageSource(StrEnum):
    """Who says so: our own measurement, or the vendor: its answer, or its published rule."""

    MEASURED = "measured"
    BILLED = "billed"
