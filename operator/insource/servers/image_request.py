"""Reading `POST /v1/images/generations`: a JSON body into an `ImageRequest`, or an error that names the parameter.

Pure: bytes in. What this server cannot honour is refused by name, not ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from insource.servers.flow_sampling import STEPS, Quality
from insource.servers.requests import RefusedRequestError

OutputFormat = Literal["png", "jpeg", "webp"]

QUALITIES: dict[str, Quality] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "auto": "medium",
    "standard": "medium",
    "hd": "high",
}
FORMATS: dict[str, OutputFormat] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}
MOST_PICTURES = 10
LONGEST_PROMPT = 1000
"""Characters; far more than the vocabulary needs."""
LONGEST_USER = 512
SIDE_STEP = 32
"""Sides are whole multiples of the model's own."""
LONGEST_SIDE = 2048
WIDEST = 3
"""Times the shorter side."""
SIZE_UNSAID = (1024, 1024)
"""As OpenAI's."""
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", re.ASCII)


@dataclass(frozen=True)
class ImageRequest:
    """What the client asked for, with every default filled in."""

    prompt: str
    n: int = 1
    width: int = SIZE_UNSAID[0]
    height: int = SIZE_UNSAID[1]
    quality: Quality = "medium"
    output_format: OutputFormat = "png"
    compression: int = 100
    """0 to 100: the encoder's quality, of JPEG and WebP only."""

    @property
    def steps(self) -> int:
        """Sampling steps of each picture."""
        return STEPS[self.quality]


def parse_image_request(body: bytes, model_name: str) -> ImageRequest:
    """Read and check `body`. Raises `RefusedRequestError`. `model_name` is the only model here; empty admits any."""
    try:
        sent = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedRequestError(f"The body is not JSON: {error}.", param=None) from None
    if not isinstance(sent, dict):
        raise RefusedRequestError("The body must be a JSON object.", param=None)
    _refuse(sent)
    _check_model(sent.get("model"), model_name)
    output_format = FORMATS[_choice(sent, "output_format", FORMATS, "png")]
    width, height = _size(sent)
    return ImageRequest(
        prompt=_prompt(sent),
        n=_integer(sent, "n", 1, 1, MOST_PICTURES),
        width=width,
        height=height,
        quality=QUALITIES[_choice(sent, "quality", QUALITIES, "auto")],
        output_format=output_format,
        compression=_compression(sent, output_format),
    )


def _refuse(sent: dict[str, Any]) -> None:
    """Check what has one possible value here, and refuse what nobody here knows."""
    _choice(sent, "response_format", ("b64_json",), "b64_json")
    _choice(sent, "background", ("auto", "opaque"), "auto")
    _choice(sent, "moderation", ("auto", "low"), "auto")  # the vocabulary is the filter: both are kept
    _integer(sent, "partial_images", 0, 0, 0)
    if sent.get("stream") is not None and sent["stream"] is not False:
        raise RefusedRequestError("'stream' is not supported here: leave it out, or send false.", param="stream")
    for name in ("user", "safety_identifier"):
        _text(sent, name, LONGEST_USER)
    known = {
        *("prompt", "model", "n", "size", "quality", "output_format", "output_compression", "response_format"),
        *("background", "moderation", "partial_images", "stream", "user", "safety_identifier"),
    }
    for name, value in sent.items():
        if name not in known and value is not None:
            shown = ascii(name if len(name) <= 64 else name[:64] + "...")
            raise RefusedRequestError(
                f"Unknown parameter: {shown}. This server takes {', '.join(sorted(known))}.",
                param=name[:64],
                code="unknown_parameter",
            )


def _check_model(asked: Any, model_name: str) -> None:
    if asked is not None and not isinstance(asked, str):
        raise RefusedRequestError("'model' must be a string.", param="model", code="invalid_type")
    if not asked:
        raise RefusedRequestError(
            "you must provide a model parameter", param="model", code="missing_required_parameter"
        )
    if model_name and asked != model_name:
        shown = asked if len(asked) <= 100 else asked[:100] + "..."
        message = f"The model {shown!a} does not exist here; this server has '{model_name}'."
        raise RefusedRequestError(message, param="model", code="model_not_found", status=404)


def _prompt(sent: dict[str, Any]) -> str:
    prompt = _text(sent, "prompt", LONGEST_PROMPT)
    if prompt is None:
        raise RefusedRequestError(
            "you must provide a prompt parameter", param="prompt", code="missing_required_parameter"
        )
    return prompt


def _text(sent: dict[str, Any], name: str, longest: int) -> str | None:
    value = sent.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise RefusedRequestError(f"'{name}' must be a string.", param=name, code="invalid_type")
    if len(value) > longest:
        raise RefusedRequestError(
            f"'{name}' has {len(value)} characters, at most {longest} are possible.",
            param=name,
            code="string_above_max_length",
        )
    return value


def _integer(sent: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = sent.get(name)
    if value is None:
        return default
    bounds = f"an integer from {least} to {most}" if least < most else f"{least}, or left out"
    if isinstance(value, bool) or not isinstance(value, int):
        raise RefusedRequestError(f"'{name}' must be {bounds}.", param=name, code="invalid_type")
    if not least <= value <= most:
        raise RefusedRequestError(f"'{name}' must be {bounds}, not {value}.", param=name, code="invalid_value")
    return value


def _choice(sent: dict[str, Any], name: str, choices: Any, default: str) -> str:
    value = sent.get(name)
    if value is None:
        return default
    if not isinstance(value, str) or value not in choices:
        known = ", ".join(f"'{choice}'" for choice in choices)
        shown = f", not {value!a}" if isinstance(value, str) and len(value) <= 32 else ""
        raise RefusedRequestError(f"'{name}' must be one of {known} here{shown}.", param=name, code="invalid_value")
    return value


def _compression(sent: dict[str, Any], output_format: OutputFormat) -> int:
    compression = _integer(sent, "output_compression", 100, 0, 100)
    if output_format == "png" and compression != 100:
        raise RefusedRequestError(
            "'output_compression' is for output_format jpeg and webp: PNG loses nothing.",
            param="output_compression",
            code="invalid_value",
        )
    return compression


def _size(sent: dict[str, Any]) -> tuple[int, int]:
    asked = sent.get("size")
    if asked is None or asked == "auto":
        return SIZE_UNSAID
    found = _SIZE.fullmatch(asked) if isinstance(asked, str) else None
    sides = (int(found[1]), int(found[2])) if found else (0, 0)
    fits = all(side % SIDE_STEP == 0 and SIDE_STEP <= side <= LONGEST_SIDE for side in sides)
    if not fits or max(sides) > WIDEST * min(sides):
        raise RefusedRequestError(
            f"'size' must be 'auto' or WIDTHxHEIGHT: each side a multiple of {SIDE_STEP} up to {LONGEST_SIDE}, "
            f"neither more than {WIDEST} times the other, such as '1024x1024'.",
            param="size",
            code="invalid_value",
        )
    return sides
