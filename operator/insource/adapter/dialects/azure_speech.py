"""Azure Speech as one vendor: transcription by MAI-Transcribe, speech by MAI-Voice, one key for both.

A region's own hosts do one of the two (`<region>.api.cognitive.microsoft.com`, `<region>.tts.speech.microsoft.com`); a
resource's host does both, speech below `/tts`
(https://learn.microsoft.com/azure/ai-services/speech-service/speech-services-private-link).
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from insource.adapter.calls import Calls
from insource.adapter.dialects import fast_transcription, ssml_speech
from insource.adapter.dialects.exchange import Exchange
from insource.adapter.dialects.fast_transcription import FastTranscriptions
from insource.adapter.dialects.seam import Dialects
from insource.adapter.dialects.ssml_speech import SSMLSpeech
from insource.env import Env

RESOURCE_DOMAIN = ".cognitiveservices.azure.com"


def subscription_key(key: str) -> dict[str, str]:
    """The key as Azure Speech wants it."""
    return {"ocp-apim-subscription-key": key}


def azure_speech_dialects(
    calls: Callable[[str], Calls], env: Env, key: Callable[[], str], endpoint: str, api_version: str = ""
) -> Dialects:
    """Both modalities. `calls` make those of a path below `endpoint`; `key` returns the present API key."""
    query = f"?api-version={api_version or fast_transcription.API_VERSION}"
    transcribe = Exchange(calls(fast_transcription.PATH + query), env, key, subscription_key)
    speak = Exchange(calls(speech_path(endpoint)), env, key, subscription_key)
    return Dialects(transcription=FastTranscriptions(transcribe, env), speech=SSMLSpeech(speak))


def speech_path(endpoint: str) -> str:
    """Path of text-to-speech at this host."""
    host = (urlsplit(endpoint).hostname or "").lower()
    return ("/tts" if host.endswith(RESOURCE_DOMAIN) else "") + ssml_speech.PATH
