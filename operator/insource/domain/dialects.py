"""What each wire format of a vendor can serve.

Pure data; `tests/unit/test_vendor_dialects.py` holds it, and docs/vendors.md, against the dialects themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from insource.wire.vocabulary import Dialect, Modality

MODALITIES: Mapping[Dialect, frozenset[Modality]] = {
    Dialect.OPENAI: frozenset(Modality),
    Dialect.OPENAI_COMPATIBLE: frozenset(Modality),
    Dialect.AZURE_OPENAI: frozenset(Modality),
    Dialect.AZURE_SPEECH: frozenset({Modality.TRANSCRIPTION, Modality.SPEECH}),
    Dialect.AZURE_IMAGES: frozenset({Modality.IMAGE}),
}


def dialect_problem(dialect: Dialect, modality: Modality) -> str:
    """Why a Vendor of this dialect cannot serve this modality, and what to do; empty if it can."""
    served = MODALITIES[dialect]
    if modality in served:
        return ""
    others = ", ".join(other for other in Dialect if modality in MODALITIES[other])
    return (
        f"speaks dialect {dialect}, which has {', '.join(sorted(served))} but no {modality}; "
        f"name a Vendor with one of the dialects {others}"
    )
