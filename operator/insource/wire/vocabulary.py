"""The closed word lists of the product: roles, outcomes, units, modalities."""

from __future__ import annotations

from enum import StrEnum


class Modality(StrEnum):
    """What kind of work a ModelDeployment does."""

    TRANSCRIPTION = "Transcription"


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


class Unit(StrEnum):
    """What work is billed in. Quantities are integers in exactly this unit."""

    AUDIO_MS = "audio_ms"


class UsageSource(StrEnum):
    """Who says so: our own measurement, or the vendor's answer."""

    MEASURED = "measured"
    BILLED = "billed"
