"""Azure OpenAI: OpenAI's wire format at a deployment's own path, with the key in a header of its own.

`spec.apiVersion` decides the path: a date is the classic one, `{endpoint}/openai/deployments/{model}/...` with the date
as `api-version`; `v1` and `preview` are `{endpoint}/openai/v1/...`, where the deployment is the request's `model`.
Source: https://learn.microsoft.com/azure/ai-foundry/openai/reference and .../openai/api-version-lifecycle.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeVar
from urllib.parse import quote

from insource.adapter.calls import Calls
from insource.adapter.dialects.openai import openai_dialects
from insource.adapter.dialects.seam import (
    Answer,
    Dialect,
    Dialects,
    Recording,
    Transcript,
    TranscriptionDialect,
    Work,
)
from insource.adapter.parameters import Transcription
from insource.env import Env
from insource.wire.vocabulary import Unit

R = TypeVar("R")
PREVIEW = "preview"
WITHOUT_VERSIONS = ("v1", PREVIEW)


def api_key(key: str) -> dict[str, str]:
    """The key as Azure's AI resources want it."""
    return {"api-key": key}


def azure_openai_dialects(
    calls: Callable[[str], Calls], env: Env, key: Callable[[], str], api_version: str
) -> Dialects:
    """Every modality. `calls` make those of a path below the endpoint; `key` returns the present API key."""

    @functools.lru_cache(maxsize=64)
    def of(model: str) -> Dialects:
        return openai_dialects(lambda path: calls(path_of(path, model, api_version)), env, key, api_key)

    if api_version in WITHOUT_VERSIONS:
        return of("")
    return Dialects(
        transcription=_TranscriptionOfModel(lambda model: of(model).transcription),
        translation=_TranscriptionOfModel(lambda model: of(model).translation),
        speech=_OfModel(lambda model: of(model).speech),
        image_generation=_OfModel(lambda model: of(model).image_generation),
        image_edit=_OfModel(lambda model: of(model).image_edit),
        completion=_OfModel(lambda model: of(model).completion),
        chat_completion=_OfModel(lambda model: of(model).chat_completion),
        embedding=_OfModel(lambda model: of(model).embedding),
    )


def path_of(path: str, deployment: str, api_version: str) -> str:
    """Path and query below the endpoint, for OpenAI's `path`.

    >>> path_of("/audio/speech", "my voice", "2024-10-21")
    '/openai/deployments/my%20voice/audio/speech?api-version=2024-10-21'
    """
    if api_version in WITHOUT_VERSIONS:
        return f"/openai/v1{path}" + ("?api-version=preview" if api_version == PREVIEW else "")
    return f"/openai/deployments/{quote(deployment, safe='')}{path}?api-version={api_version}"


class _OfModel(Dialect[R]):
    """A dialect whose path names the model."""

    def __init__(self, of: Callable[[str], Dialect[R] | None]) -> None:
        self._of = of

    def check_possible(self, wanted: R, model: str) -> None:
        """See `Dialect`."""
        self._dialect(model).check_possible(wanted, model)

    def billed(self, wanted: R, model: str) -> Mapping[Unit, int]:
        """See `Dialect`."""
        return self._dialect(model).billed(wanted, model)

    def call(self, work: Work[R]) -> AbstractAsyncContextManager[Answer]:
        """See `Dialect`."""
        return self._dialect(work.model).call(work)

    def _dialect(self, model: str) -> Dialect[R]:
        found = self._of(model)
        assert found is not None
        return found


class _TranscriptionOfModel:
    """The same for transcription and translation."""

    def __init__(self, of: Callable[[str], TranscriptionDialect | None]) -> None:
        self._of = of

    def check_possible(self, wanted: Transcription, model: str) -> None:
        """See `TranscriptionDialect`."""
        self._dialect(model).check_possible(wanted, model)

    def check_recording(self, recording: Recording, model: str) -> None:
        """See `TranscriptionDialect`."""
        self._dialect(model).check_recording(recording, model)

    def call(self, work: Work[Recording]) -> AbstractAsyncContextManager[Transcript]:
        """See `TranscriptionDialect`."""
        return self._dialect(work.model).call(work)

    def _dialect(self, model: str) -> TranscriptionDialect:
        found = self._of(model)
        assert found is not None
        return found
