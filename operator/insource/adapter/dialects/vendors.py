"""The wire format of a vendor by its name."""

from __future__ import annotations

from collections.abc import Callable

from insource.adapter.calls import Calls
from insource.adapter.dialects.azure_images import azure_images_dialects
from insource.adapter.dialects.azure_openai import azure_openai_dialects
from insource.adapter.dialects.azure_speech import azure_speech_dialects
from insource.adapter.dialects.openai import openai_dialects
from insource.adapter.dialects.openai_compatible import openai_compatible_dialects
from insource.adapter.dialects.seam import Dialects
from insource.env import Env
from insource.wire.vocabulary import Dialect


def vendor_dialects(
    dialect: Dialect,
    calls: Callable[[str], Calls],
    env: Env,
    key: Callable[[], str],
    *,
    endpoint: str,
    api_version: str = "",
) -> Dialects:
    """All that a vendor of this dialect speaks.

    `calls` make those of a path (and query) below `endpoint`; `key` returns the present API key.
    """
    match dialect:
        case Dialect.OPENAI:
            return openai_dialects(calls, env, key)
        case Dialect.OPENAI_COMPATIBLE:
            return openai_compatible_dialects(calls, env, key)
        case Dialect.AZURE_OPENAI:
            return azure_openai_dialects(calls, env, key, api_version)
        case Dialect.AZURE_SPEECH:
            return azure_speech_dialects(calls, env, key, endpoint, api_version)
        case Dialect.AZURE_IMAGES:
            return azure_images_dialects(calls, env, key)
