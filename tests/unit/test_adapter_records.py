"""The lines that the adapter writes without the models' checks are what the models would have written."""

from __future__ import annotations

import json

from insource.adapter.attempts import ended_line, started_line
from insource.adapter.identity import Identity
from insource.adapter.routes import Route
from insource.wire.records import AttemptEnded, AttemptStarted, Quantity
from insource.wire.vocabulary import BackendKind, Modality, Outcome, Role, Unit, UsageSource


def test_a_start_is_whole_and_valid() -> None:
    identity = Identity(
        request_id="r-1", number=2, hop="hold-1", namespace="voice", deployment="dictation", client="anna"
    )
    route = Route(
        backend="openai", backend_kind=BackendKind.VENDOR, revision="r1", vendor="openai", model="whisper-1",
        modality=Modality.TRANSCRIPTION, request_timeout_s=60.0,
    )  # fmt: skip
    line = started_line(identity, route, Role.SPILL, "pod-1", 1_700_000_000_123)
    expected = AttemptStarted(
        attempt_id=identity.attempt_id, request_id="r-1", hop="hold-1", number=2, deployment="dictation",
        backend="openai", backend_kind=BackendKind.VENDOR, revision="r1", vendor="openai", model="whisper-1",
        modality=Modality.TRANSCRIPTION, role=Role.SPILL, client="anna", pod="pod-1", started_at_ms=1_700_000_000_123,
    )  # fmt: skip
    assert AttemptStarted.model_validate_json(line) == expected
    assert json.loads(line) == expected.model_dump(mode="json")


def test_an_end_is_whole_and_valid() -> None:
    quantities = {
        (Unit.AUDIO_MS, UsageSource.MEASURED): 4_210,
        (Unit.AUDIO_MS, UsageSource.BILLED): 5_000,
        (Unit.OUTPUT_TOKENS, UsageSource.MEASURED): 12,
    }
    for outcome in Outcome:
        line = ended_line("r-1.0.1", outcome, 503, "unreachable", quantities, 1_700_000_000_456, 321)
        expected = AttemptEnded(
            attempt_id="r-1.0.1", outcome=outcome, status=503, reason="unreachable",
            quantities=tuple(Quantity(unit=u, source=s, quantity=n) for (u, s), n in quantities.items()),
            ended_at_ms=1_700_000_000_456, busy_ms=321,
        )  # fmt: skip
        assert AttemptEnded.model_validate_json(line) == expected
        assert json.loads(line) == expected.model_dump(mode="json")
