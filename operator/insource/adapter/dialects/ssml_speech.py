"""Azure Speech's text-to-speech with a MAI-Voice model: SSML in, sound out as it is made.

Sources, read 2026-11-29: https://learn.microsoft.com/azure/ai-services/speech-service/mai-voices,
.../rest-text-to-speech (headers, formats) and .../speech-synthesis-markup-voice (rate).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from xml.sax.saxutils import escape, quoteattr

from insource.adapter.dialects.exchange import Exchange
from insource.adapter.dialects.seam import Answer, Dialect, Work
from insource.adapter.refusals import Refusal, client_error
from insource.adapter.requests import Speech
from insource.wire.vocabulary import Unit

PATH = "/cognitiveservices/v1"
CONTENT_TYPE = "application/ssml+xml"
USER_AGENT = "Insource"
"""The vendor requires one."""
OUTPUT_FORMATS = {
    "mp3": "audio-24khz-160kbitrate-mono-mp3",
    "opus": "ogg-48khz-16bit-mono-opus",
    "wav": "riff-24khz-16bit-mono-pcm",
    "pcm": "raw-24khz-16bit-mono-pcm",
}
"""Response format -> `X-Microsoft-OutputFormat`. OpenAI's pcm is 24 kHz; opus is 48 kHz by nature."""
SLOWEST, FASTEST = 0.5, 2.0
LONGEST_S = 600
"""The vendor says no more than ten minutes, and leaves out the rest without a word."""
_SECONDS_OF = {"digit": 0.4, "symbol": 0.6, "wide": 0.25, "other": 1 / 12}
"""An estimate on the long side: 12 letters (of an alphabet) or 4 syllables a second; digits and symbols are words."""
_IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
"""Unicode's blocks of CJK ideographs; of the planes that hold nothing else Python's tables know a part only."""
_VOICE = re.compile(r"([a-z]{2,3})-([a-z]{2}|[0-9]{3})-([a-z][a-z0-9]{0,62})", re.IGNORECASE)
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has not (https://www.w3.org/TR/xml/#charsets)."""


class SSMLSpeech(Dialect[Speech]):
    """Calls `POST {endpoint}/cognitiveservices/v1`."""

    def __init__(self, exchange: Exchange) -> None:
        """`exchange` posts to that URL."""
        self._exchange = exchange

    def check_possible(self, wanted: Speech, model: str) -> None:
        """See `Dialect`."""
        if wanted.instructions:
            raise client_error(
                "Unsupported parameter: 'instructions': this deployment's vendor takes none.",
                param="instructions",
                code="unsupported_parameter",
            )
        if wanted.stream_format != "audio":
            raise _impossible("stream_format", "this deployment's vendor sends sound only: audio")
        if wanted.response_format not in OUTPUT_FORMATS:
            raise _impossible(
                "response_format",
                f"this deployment's vendor has no {wanted.response_format}. Possible are: {', '.join(OUTPUT_FORMATS)}",
            )
        if not SLOWEST <= wanted.speed <= FASTEST:
            raise _impossible("speed", f"this deployment's vendor speaks from {SLOWEST:g} to {FASTEST:g} times as fast")
        voice_of(wanted, model)
        _check_text(wanted)

    def billed(self, wanted: Speech, model: str) -> Mapping[Unit, int]:  # noqa: ARG002
        """The vendor's rule: code points, Chinese characters twice, and all markup inside of `voice`.

        Source: https://learn.microsoft.com/azure/ai-services/speech-service/text-to-speech#billable-characters
        """
        return {Unit.CHARACTERS: len(wanted.input) + chinese(wanted.input) + len("".join(pace(wanted.speed)))}

    @asynccontextmanager
    async def call(self, work: Work[Speech]) -> AsyncIterator[Answer]:
        """See `Dialect`."""
        headers = {
            "x-microsoft-outputformat": OUTPUT_FORMATS[work.wanted.response_format],
            "user-agent": USER_AGENT,
        }
        async with self._exchange.post(work, CONTENT_TYPE, ssml(work.wanted, work.model), headers) as reply:
            yield Answer(reply.content_type, reply.chunks())


def ssml(wanted: Speech, model: str) -> bytes:
    """The document: the text, as it is, by one voice at one speed. Raises 400 for a voice that cannot be one."""
    name, language = voice_of(wanted, model)
    # Note: a parser reads a bare carriage return as a line feed.
    spoken = escape(wanted.input, {"\r": "&#13;"})
    before, after = pace(wanted.speed)
    return (
        f'<speak version="1.0" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang={quoteattr(language)}>'
        f"<voice name={quoteattr(name)}>{before}{spoken}{after}</voice></speak>"
    ).encode()


def pace(speed: float) -> tuple[str, str]:
    """The markup before and after a text that is not said at normal speed."""
    return ("", "") if speed == 1 else (f'<prosody rate="{(speed - 1) * 100:+.2f}%">', "</prosody>")


def chinese(text: str) -> int:
    """How many of its characters are Chinese: hanzi, kanji and hanja, which Unicode calls CJK ideographs."""
    if text.isascii():
        return 0
    return sum(any(first <= ord(char) <= last for first, last in _IDEOGRAPHS) for char in text)


def voice_of(wanted: Speech, model: str) -> tuple[str, str]:
    """The vendor's name for the voice, such as `en-US-Harper:MAI-Voice-2-Flash`, and its language. Raises 400.

    Clients name the voice alone, or with this deployment's model.
    """
    voice = wanted.voice if isinstance(wanted.voice, str) else ""
    short, _, of = voice.partition(":")
    found = _VOICE.fullmatch(short)
    if found is None or (of and of.lower() != model.lower()):
        raise _impossible(
            "voice", "name a voice of this deployment's vendor by language, country and name, such as en-US-Harper"
        )
    language = f"{found[1].lower()}-{found[2].upper()}"
    return f"{language}-{found[3]}:{model}", language


def estimated_s(text: str, speed: float = 1.0) -> float:
    """How long it may take to say this, in seconds: rather too long than too short."""
    return sum(_SECONDS_OF[_kind(char)] for char in text) / speed


def _kind(char: str) -> str:
    category = unicodedata.category(char)
    if category.startswith("N"):
        return "digit"
    if category.startswith("S"):
        return "symbol"
    wide = category.startswith("L") and unicodedata.east_asian_width(char) in "WF"
    return "wide" if wide else "other"


def _check_text(wanted: Speech) -> None:
    bad = _NOT_IN_XML.search(wanted.input)
    if bad is not None:
        raise client_error(
            f"Invalid value for 'input': the character U+{ord(bad[0]):04X} at position {bad.start()} cannot be sent to "
            "this deployment's vendor; take it out.",
            param="input",
            code="invalid_value",
        )
    if not wanted.input.strip():
        raise client_error("Invalid value for 'input': it holds nothing to say.", param="input", code="invalid_value")
    seconds = estimated_s(wanted.input, wanted.speed)
    if seconds > LONGEST_S:
        raise client_error(
            f"Invalid value for 'input': to say it would take about {seconds:.0f} seconds, and this deployment's "
            f"vendor stops after {LONGEST_S}. Send it in pieces.",
            param="input",
            code="string_above_max_length",
        )


def _impossible(param: str, why: str) -> Refusal:
    return client_error(f"Unsupported value for '{param}': {why}.", param=param, code="unsupported_value")
