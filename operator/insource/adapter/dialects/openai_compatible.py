"""OpenAI's wire format from somebody else, such as Groq: what OpenAI's own models cannot do does not bind them.

They tell no usage of a transcription. `verbose_json` tells the audio's length, and that is what they bill by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from insource.adapter.calls import Calls
from insource.adapter.dialects.exchange import Exchange
from insource.adapter.dialects.openai import (
    IMAGE_GENERATIONS,
    SPEECH,
    OpenAIJSON,
    as_it_is,
    openai_dialects,
)
from insource.adapter.dialects.openai_transcriptions import (
    TRANSCRIPTIONS,
    TRANSLATIONS,
    OpenAITranscriptions,
    OpenAITranslations,
)
from insource.adapter.dialects.seam import Dialects
from insource.env import Env


def openai_compatible_dialects(calls: Callable[[str], Calls], env: Env, key: Callable[[], str]) -> Dialects:
    """Every modality. `calls` make those of a path below the base URL; `key` returns the present API key."""
    return replace(
        openai_dialects(calls, env, key),
        transcription=OpenAITranscriptions(Exchange(calls(TRANSCRIPTIONS), env, key), env, always_verbose=True),
        translation=OpenAITranslations(Exchange(calls(TRANSLATIONS), env, key), env, always_verbose=True),
        speech=OpenAIJSON(Exchange(calls(SPEECH), env, key), as_it_is),
        image_generation=OpenAIJSON(Exchange(calls(IMAGE_GENERATIONS), env, key), as_it_is),
    )
