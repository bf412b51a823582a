"""Azure Speech, emulated: fast transcription by MAI-Transcribe, and synthesis of SSML by MAI-Voice.

What cannot be encoded here (amr-wb, truesilk) is a 501 that says so; the vendor would send it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from insource.emulator import fast_transcription
from insource.emulator.azure import AzureResource, busy
from insource.emulator.encode import Encoding, encoded
from insource.emulator.errors import AzureError, TextError, VendorError
from insource.emulator.limits import Verdict
from insource.emulator.models import AZURE_SPEECH
from insource.emulator.service import Answer, Order, Reader, Service
from insource.emulator.settings import EmulatorSettings
from insource.emulator.sound import RATE
from insource.emulator.ssml import Passage, SsmlError, read_ssml
from insource.env import Env

KEY_HEADER = "ocp-apim-subscription-key"
LONGEST_S = 600
"""Audio is cut here without a word."""
MAX_SSML_BYTES = 1 << 20
NAMES = {
    "MAI-Voice-1": ("en-US-Grant", "en-US-Iris", "en-US-Jasper", "en-US-Joy", "en-US-June", "en-US-Reed"),
    "MAI-Voice-2-Flash": (
        *("de-DE-Klaus", "de-DE-Mia", "en-AU-Lisa", "en-US-Ethan", "en-US-Grant", "en-US-Harper", "en-US-Iris"),
        *("en-US-Jasper", "en-US-Olivia", "es-ES-Marta", "es-MX-Alejo", "es-MX-Valeria", "fr-FR-Marc"),
    ),
}
VOICES = {
    f"{name}:{model}".lower(): (f"{name}:{model}", model, name[:5]) for model, names in NAMES.items() for name in names
}
"""By the lower-case name, in which documents and callers differ: the name, its model, its language."""

_OPUS_MONO = re.compile(r"(audio|ogg|webm)-(16|24|48)khz-16bit-(?:(?:16|24|32|48)kbps-)?mono-opus")
_MP3 = re.compile(r"audio-(16|24|48)khz-(32|48|64|96|128|160|192)kbitrate-mono-mp3")
_PCM = re.compile(r"(raw|riff)-(8|16|22050|24|44100|48)k?hz-(?:16bit-mono-(pcm)|8bit-mono-(alaw|mulaw))")
FORMATS = (
    *("amr-wb-16000hz", "audio-16khz-16bit-32kbps-mono-opus", "audio-16khz-32kbitrate-mono-mp3"),
    *("audio-16khz-64kbitrate-mono-mp3", "audio-16khz-128kbitrate-mono-mp3", "audio-24khz-16bit-24kbps-mono-opus"),
    *("audio-24khz-16bit-48kbps-mono-opus", "audio-24khz-48kbitrate-mono-mp3", "audio-24khz-96kbitrate-mono-mp3"),
    *("audio-24khz-160kbitrate-mono-mp3", "audio-48khz-96kbitrate-mono-mp3", "audio-48khz-192kbitrate-mono-mp3"),
    *("ogg-16khz-16bit-mono-opus", "ogg-24khz-16bit-mono-opus", "ogg-48khz-16bit-mono-opus"),
    *("raw-8khz-8bit-mono-alaw", "raw-8khz-8bit-mono-mulaw", "raw-8khz-16bit-mono-pcm", "raw-16khz-16bit-mono-pcm"),
    *("raw-16khz-16bit-mono-truesilk", "raw-22050hz-16bit-mono-pcm", "raw-24khz-16bit-mono-pcm"),
    *("raw-24khz-16bit-mono-truesilk", "raw-44100hz-16bit-mono-pcm", "raw-48khz-16bit-mono-pcm"),
    *("webm-16khz-16bit-mono-opus", "webm-24khz-16bit-24kbps-mono-opus", "webm-24khz-16bit-mono-opus"),
    *("riff-8khz-8bit-mono-alaw", "riff-8khz-8bit-mono-mulaw", "riff-8khz-16bit-mono-pcm"),
    *("riff-16khz-16bit-mono-pcm", "riff-22050hz-16bit-mono-pcm", "riff-24khz-16bit-mono-pcm"),
    *("riff-44100hz-16bit-mono-pcm", "riff-48khz-16bit-mono-pcm"),
)


class AzureSpeech(AzureResource):
    """Its manners: no word of a limit before it is reached."""

    requests_per_minute = 600
    key_header = KEY_HEADER

    def request_id(self, uuid: str) -> str:
        """32 digits."""
        return uuid.replace("-", "")

    def rate_limited(self, model: str, verdict: Verdict) -> VendorError:
        """429, with `Retry-After` alone."""
        del model
        headers = {"retry-after": verdict.retry_headers()["retry-after"]}
        return AzureError("429", busy(verdict.retry_after_s), status=429, headers=headers)

    def failure(self, status: int, request_id: str) -> VendorError:
        """`InternalServerError`."""
        message = f"An unexpected error occurred. Request id: {request_id}."
        return AzureError("InternalServerError", message, status=status)

    def not_found(self, request: web.Request, status: int) -> VendorError:
        """`Resource not found`."""
        del request
        return AzureError("404", "Resource not found", status=status)

    def headers(self, request_id: str, verdict: Verdict | None, took_ms: float) -> dict[str, str]:
        """`apim-request-id` and `x-requestid`."""
        del verdict, took_ms
        return {"apim-request-id": request_id, "x-requestid": request_id}


def azure_speech_application(settings: EmulatorSettings, env: Env) -> web.Application:
    """All routes of Azure Speech."""
    service = Service(settings, env, AzureSpeech(settings))
    return service.application(
        [
            service.sold("/speechtotext/transcriptions:transcribe", fast_transcription.transcriber(service)),
            service.sold("/cognitiveservices/v1", _synthesiser(service)),
            service.asked("/cognitiveservices/voices/list", _voices),
        ]
    )


def encoding_of(name: str) -> Encoding | None:
    """The encoding of an `X-Microsoft-OutputFormat`; none if nothing here can encode it."""
    if found := _MP3.fullmatch(name):
        return Encoding("mp3", "libmp3lame", int(found[1]) * 1000, "audio/mpeg", int(found[2]) * 1000)
    if found := _OPUS_MONO.fullmatch(name):
        container = "webm" if found[1] == "webm" else "ogg"
        return Encoding(container, "libopus", int(found[2]) * 1000, f"audio/{container}; codecs=opus")
    if found := _PCM.fullmatch(name):
        rate = int(found[2]) if len(found[2]) > 2 else int(found[2]) * 1000
        codec = f"pcm_{found[4]}" if found[4] else "pcm_s16le"
        if found[1] == "riff":
            return Encoding("wav", codec, rate, "audio/x-wav", whole=True)
        return Encoding(found[4] or "s16le", codec, rate, "audio/basic" if found[4] else "audio/pcm")
    return None


def _synthesiser(service: Service) -> Reader:
    async def read(request: web.Request) -> Order:
        encoding = _check_headers(request)
        document = bytearray()
        async for chunk in request.content.iter_chunked(1 << 16):
            document += chunk
            if len(document) > MAX_SSML_BYTES:
                raise TextError("SSML is too long")
        try:
            read = read_ssml(bytes(document))
        except SsmlError as error:
            raise TextError(str(error)) from error
        passages = read.passages
        for passage in passages:
            if passage.voice.lower() not in VOICES:
                raise TextError(f"Unsupported voice {passage.voice[:80]}.")
        models = {VOICES[passage.voice.lower()][1] for passage in passages}
        if len(models) > 1:
            raise TextError("voices of one model only")
        model = AZURE_SPEECH[models.pop()]

        async def produce() -> Answer:
            spoken = _speak(service, passages)
            first = await anext(spoken)  # an engine that is dead costs nothing
            await service.bill(request, model, {"characters": read.characters})
            audio = encoded(_cut(first, spoken), encoding)
            if encoding.whole:
                return Answer(b"".join([chunk async for chunk in audio]), encoding.content_type)
            return Answer(audio, encoding.content_type)

        return Order(model.name, produce)

    return read


def _check_headers(request: web.Request) -> Encoding:
    if request.content_type != "application/ssml+xml":
        raise TextError("Content-Type must be application/ssml+xml", status=415)
    agent = request.headers.get("user-agent", "")
    if not agent or len(agent) >= 255:
        raise TextError("User-Agent is required, and shorter than 255 characters")
    name = request.headers.get("x-microsoft-outputformat", "")
    if name not in FORMATS:
        raise TextError(f"Unsupported output format '{name[:80]}' in X-Microsoft-OutputFormat")
    encoding = encoding_of(name)
    if encoding is None:
        raise TextError(f"this emulator cannot encode {name}", status=501)
    return encoding


async def _speak(service: Service, passages: list[Passage]) -> AsyncIterator[bytes]:
    for passage in passages:
        if passage.text.strip():
            language = VOICES[passage.voice.lower()][2]
            async for piece in service.voice.speak(passage.text, language=language, speed=passage.speed):
                yield piece


async def _cut(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """All pieces up to ten minutes, and no word of what is lost."""
    left = 2 * RATE * LONGEST_S
    yield first[:left]
    left -= len(first)
    while left > 0 and (piece := await anext(rest, None)) is not None:
        yield piece[:left]
        left -= len(piece)


def _voices(request: web.Request) -> list[dict[str, Any]]:
    del request
    return [
        {
            "Name": f"Microsoft Server Speech Text to Speech Voice ({language}, {name.partition('-')[2]})",
            "DisplayName": name[6:].partition(":")[0],
            "ShortName": name,
            "Locale": language,
            "SampleRateHertz": "24000",
            "VoiceType": "Neural",
            "Status": "Preview",
        }
        for name, _, language in VOICES.values()
    ]
