"""The JSON requests of OpenAI's API that we serve: which parameters there are and what they may hold.

Pure. Each field's `description` completes "It must be ...". What no backend of ours can do is refused with the
parameter's name and why, never silently ignored; what only some backends can do is left to their dialects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from insource.adapter.refusals import Refusal, client_error

_NO_STREAMED_IMAGES = "pictures are sent whole, not in parts"
_SHOWN_MAX = 60


class Request(BaseModel):
    """A request in JSON; `of` makes one."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)
    impossible: ClassVar[Mapping[str, str]] = {}
    """Parameters that OpenAI knows and we cannot honour -> why."""

    model: Annotated[str, Field(min_length=1, max_length=253, description="a name of 1 to 253 characters")]
    user: Annotated[str, Field(max_length=512, description="a text of at most 512 characters")] = ""

    @classmethod
    def of(cls, sent: Mapping[str, Any]) -> Self:
        """The request that was sent; null is what was left out. Raises a 400 with `param` and what is possible."""
        given = {name: value for name, value in sent.items() if value is not None}
        # What asks for nothing asks for nothing impossible.
        given = {name: value for name, value in given.items() if value or name not in cls.impossible}
        for name in given:
            if name in cls.impossible:
                raise client_error(
                    f"Unsupported parameter: '{name}': {cls.impossible[name]}.",
                    param=name,
                    code="unsupported_parameter",
                )
            if name not in cls.model_fields:
                possible = ", ".join(cls.model_fields)
                raise client_error(
                    f"Unknown parameter: '{name[:_SHOWN_MAX]}'. Possible are: {possible}.",
                    param=name[:_SHOWN_MAX],
                    code="unknown_parameter",
                )
        try:
            wanted = cls.model_validate(given)
        except ValidationError as problem:
            raise cls._refusal(problem, given) from None
        for name, value in given.items():
            if _beyond_64_bits(value):
                raise client_error(
                    f"Invalid value for '{name}': it holds a number beyond 64 bits.", param=name, code="invalid_value"
                )
        return wanted

    def sent_as(self, model: str) -> dict[str, Any]:
        """The parameters that were given, for a backend that knows the model by this name."""
        return {**self.model_dump(mode="json", exclude_unset=True), "model": model}

    @classmethod
    def _refusal(cls, problem: ValidationError, given: Mapping[str, Any]) -> Refusal:
        errors = problem.errors(include_url=False, include_context=False, include_input=False)
        where = errors[0]["loc"]
        name = str(where[0])
        if name not in given:
            return client_error(f"You must provide a {name} parameter.", param=name, code="missing_required_parameter")
        place = f"{name}[{where[1]}]" if len(where) > 1 and isinstance(where[1], int) else name
        # Note: of a choice of types each says why it is not this one; a wrong type alone is never the answer then.
        types = all(error["type"].endswith("_type") for error in errors if error["loc"][0] == name)
        value = given[name]
        shown = repr(value) if isinstance(value, str | int | float) else ""
        shown = f": {shown}" if shown and len(shown) <= _SHOWN_MAX else ""
        wanted = cls.model_fields[name].description
        subject = "It" if place == name else f"'{name}'"
        return client_error(
            f"Invalid {'type' if types else 'value'} for '{place}'{shown}. {subject} must be {wanted}.",
            param=place,
            code="invalid_type" if types else "invalid_value",
        )


class VoiceId(BaseModel):
    """A voice that was made for its owner."""

    model_config = Request.model_config

    id: Annotated[str, Field(min_length=1, max_length=256)]


class Speech(Request):
    """`POST /v1/audio/speech`."""

    input: Annotated[str, Field(min_length=1, max_length=4096, description="a text of 1 to 4096 characters")]
    voice: Annotated[
        Annotated[str, Field(min_length=1, max_length=256)] | VoiceId,
        Field(description='a voice\'s name, or {"id": ...}'),
    ]
    instructions: Annotated[str, Field(max_length=4096, description="a text of at most 4096 characters")] = ""
    response_format: Annotated[
        Literal["mp3", "opus", "aac", "flac", "wav", "pcm"],
        Field(description="one of mp3, opus, aac, flac, wav, pcm"),
    ] = "mp3"
    speed: Annotated[float, Field(ge=0.25, le=4, description="a number from 0.25 to 4")] = 1.0
    stream_format: Annotated[Literal["audio", "sse"], Field(description="audio or sse")] = "audio"


class ImageGeneration(Request):
    """`POST /v1/images/generations`."""

    impossible: ClassVar[Mapping[str, str]] = {
        "stream": _NO_STREAMED_IMAGES,
        "partial_images": _NO_STREAMED_IMAGES,
    }

    prompt: Annotated[str, Field(min_length=1, max_length=32_000, description="a text of 1 to 32000 characters")]
    n: Annotated[int, Field(ge=1, le=10, description="a whole number from 1 to 10")] = 1
    size: Annotated[
        str, Field(pattern=r"^(auto|[1-9][0-9]{0,3}x[1-9][0-9]{0,3})$", description="auto, or such as 1024x1024")
    ] = "auto"
    quality: Annotated[
        Literal["auto", "low", "medium", "high", "standard", "hd"],
        Field(description="one of auto, low, medium, high, standard, hd"),
    ] = "auto"
    response_format: Annotated[Literal["b64_json", "url"] | None, Field(description="b64_json or url")] = None
    output_format: Annotated[Literal["png", "jpeg", "webp"], Field(description="one of png, jpeg, webp")] = "png"
    output_compression: Annotated[int, Field(ge=0, le=100, description="a whole number from 0 to 100")] = 100
    background: Annotated[
        Literal["auto", "transparent", "opaque"], Field(description="one of auto, transparent, opaque")
    ] = "auto"
    moderation: Annotated[Literal["auto", "low"], Field(description="auto or low")] = "auto"
    style: Annotated[Literal["vivid", "natural"], Field(description="vivid or natural")] = "vivid"


class ImageEdit(ImageGeneration):
    """`POST /v1/images/edits`, without its pictures."""

    input_fidelity: Annotated[Literal["low", "high"], Field(description="low or high")] = "low"


class StreamOptions(BaseModel):
    """What a stream of text brings beside the text."""

    model_config = Request.model_config

    include_usage: bool = False
    include_obfuscation: bool = False


_Penalty = Annotated[float, Field(ge=-2, le=2, description="a number from -2 to 2")]
_Tokens = Annotated[Annotated[int, Field(ge=1, le=10**7)] | None, Field(description="a whole number from 1")]
_Token = Annotated[int, Field(ge=0, lt=2**32)]
_Stop = Annotated[
    Annotated[str, Field(max_length=1024)]
    | Annotated[tuple[Annotated[str, Field(max_length=1024)], ...], Field(max_length=4, strict=False)],
    Field(description="a text, or a list of at most 4"),
]
_UNPRICED = "it changes what the work costs at a vendor, and no price book knows by how much"
_IMPOSSIBLE_TEXT = {
    "service_tier": _UNPRICED,
    "prediction": _UNPRICED,
    "store": "nothing is kept by this deployment",
    "metadata": "nothing is kept by this deployment",
}


class _Text(Request):
    """What both kinds of text have."""

    temperature: Annotated[float, Field(ge=0, le=2, description="a number from 0 to 2")] = 1.0
    top_p: Annotated[float, Field(ge=0, le=1, description="a number from 0 to 1")] = 1.0
    n: Annotated[int, Field(ge=1, le=128, description="a whole number from 1 to 128")] = 1
    max_tokens: _Tokens = None
    stop: _Stop = ()
    stream: Annotated[bool, Field(description="true or false")] = False
    stream_options: Annotated[StreamOptions, Field(description='{"include_usage": true or false}')] = StreamOptions()
    presence_penalty: _Penalty = 0.0
    frequency_penalty: _Penalty = 0.0
    logit_bias: Annotated[
        dict[Annotated[str, Field(pattern="^[0-9]{1,10}$")], Annotated[float, Field(ge=-100, le=100)]],
        Field(max_length=1024, description="at most 1024 numbers from -100 to 100, by a token's number"),
    ] = {}
    seed: Annotated[
        Annotated[int, Field(ge=-(2**63), lt=2**63)] | None, Field(description="a whole number of 64 bits")
    ] = None


class Completion(_Text):
    """`POST /v1/completions`."""

    impossible: ClassVar[Mapping[str, str]] = _IMPOSSIBLE_TEXT

    prompt: Annotated[
        str
        | Annotated[list[str], Field(min_length=1, max_length=2048)]
        | Annotated[list[_Token], Field(min_length=1)]
        | Annotated[list[Annotated[list[_Token], Field(min_length=1)]], Field(min_length=1, max_length=2048)],
        Field(description="a text, a list of texts, a list of tokens, or a list of such lists"),
    ]
    suffix: Annotated[str, Field(description="a text")] = ""
    echo: Annotated[bool, Field(description="true or false")] = False
    best_of: Annotated[int, Field(ge=1, le=20, description="a whole number from 1 to 20")] = 1
    logprobs: Annotated[Annotated[int, Field(ge=0, le=5)] | None, Field(description="a whole number from 0 to 5")] = (
        None
    )


class TextPart(BaseModel):
    """A piece of a message."""

    model_config = Request.model_config

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = Request.model_config

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: Annotated[str, Field(max_length=256)] | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: Annotated[str, Field(max_length=256)] | None = None


class ChatCompletion(_Text):
    """`POST /v1/chat/completions`."""

    impossible: ClassVar[Mapping[str, str]] = {
        **_IMPOSSIBLE_TEXT,
        "audio": "this deployment answers in text",
        "modalities": "this deployment answers in text",
        "web_search_options": "this deployment looks nothing up",
        "functions": "give them as `tools`",
        "function_call": "give it as `tool_choice`",
    }

    messages: Annotated[
        list[Message],
        Field(
            min_length=1,
            max_length=4096,
            description="a list of messages, each with a role and, as content, a text or parts of type text",
        ),
    ]
    max_completion_tokens: _Tokens = None
    logprobs: Annotated[bool, Field(description="true or false")] = False
    top_logprobs: Annotated[
        Annotated[int, Field(ge=0, le=20)] | None, Field(description="a whole number from 0 to 20")
    ] = None
    response_format: Annotated[dict[str, Any], Field(description='an object such as {"type": "json_object"}')] = {}
    tools: Annotated[list[dict[str, Any]], Field(max_length=128, description="a list of at most 128 objects")] = []
    tool_choice: Annotated[
        Literal["none", "auto", "required"] | dict[str, Any],
        Field(description="none, auto, required, or an object that names a tool"),
    ] = "auto"
    parallel_tool_calls: Annotated[bool, Field(description="true or false")] = True
    reasoning_effort: Annotated[
        Literal["none", "minimal", "low", "medium", "high", "xhigh"],
        Field(description="one of none, minimal, low, medium, high, xhigh"),
    ] = "medium"
    verbosity: Annotated[Literal["low", "medium", "high"], Field(description="one of low, medium, high")] = "medium"


class Embedding(Request):
    """`POST /v1/embeddings`."""

    input: Annotated[
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=2048)]
        | Annotated[list[_Token], Field(min_length=1, max_length=8192)]
        | Annotated[
            list[Annotated[list[_Token], Field(min_length=1, max_length=8192)]], Field(min_length=1, max_length=2048)
        ],
        Field(description="a text, at most 2048 texts, a list of tokens, or at most 2048 such lists; none empty"),
    ]
    encoding_format: Annotated[Literal["float", "base64"], Field(description="float or base64")] = "float"
    dimensions: Annotated[
        Annotated[int, Field(ge=1, le=65_536)] | None, Field(description="a whole number from 1 to 65536")
    ] = None


def whole_size(size: str) -> tuple[int, int] | None:
    """Width and height in pixels of `WxH`; None for anything else."""
    found = re.fullmatch(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})", size)
    return (int(found[1]), int(found[2])) if found else None


def _beyond_64_bits(value: object) -> bool:
    """A number in it, however deep, is one that the JSON which is sent on cannot hold."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list):
            left += one
        elif (isinstance(one, int) and not -(2**63) <= one < 2**64) or (isinstance(one, float) and not isfinite(one)):
            return True
    return False
