"""OpenAI, emulated: keys, limits, errors, headers, the catalogue, and the endpoints of its dialect."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from insource.emulator import images, speech, text, transcription
from insource.emulator.errors import OpenAIError, VendorError
from insource.emulator.faults import fault_message
from insource.emulator.keys import authenticate, incorrect
from insource.emulator.limits import Verdict
from insource.emulator.models import OPENAI, Kind, Model
from insource.emulator.service import Service
from insource.emulator.settings import EmulatorSettings
from insource.env import Env

LIMITS_PAGE = "https://platform.openai.com/account/rate-limits"
CREATED = 1_677_532_384


class OpenAI:
    """Its manners."""

    requests_per_minute = 500

    def __init__(self, settings: EmulatorSettings) -> None:
        self._key_file = settings.key_file

    def request_id(self, uuid: str) -> str:
        """`req_` and 32 digits."""
        return f"req_{uuid.replace('-', '')}"

    def authenticate(self, request: web.Request) -> None:
        """By `Authorization: Bearer`."""
        authenticate(request.headers.get("authorization", ""), self._key_file)

    def refused_key(self) -> VendorError:
        """The words for a key that was revoked."""
        return incorrect("sk-revoked-0123456789")

    def rate_limited(self, model: str, verdict: Verdict) -> VendorError:
        """Limit, used, and when to come again."""
        message = (
            f"Rate limit reached for {model} in organization org-emulator on requests per min (RPM): Limit "
            f"{verdict.limit}, Used {verdict.limit}, Requested 1. Please try again in {verdict.retry_after_s:.3g}s. "
            f"Visit {LIMITS_PAGE} to learn more."
        )
        headers = verdict.retry_headers()
        return OpenAIError(message, status=429, type="requests", code="rate_limit_exceeded", headers=headers)

    def failure(self, status: int, request_id: str) -> VendorError:
        """`server_error`."""
        del request_id
        return OpenAIError(fault_message(status), status=status, type="server_error")

    def not_found(self, request: web.Request, status: int) -> VendorError:
        """`Invalid URL`."""
        return OpenAIError(f"Invalid URL ({request.method} {request.path})", status=status)

    def headers(self, request_id: str, verdict: Verdict | None, took_ms: float) -> dict[str, str]:
        """`x-request-id`, `openai-*` and `x-ratelimit-*`."""
        return {
            "x-request-id": request_id,
            "openai-version": "2020-10-01",
            "openai-organization": "org-emulator",
            "openai-processing-ms": str(round(took_ms)),
            **(verdict.headers() if verdict else {}),
        }


def find(name: str, kinds: tuple[Kind, ...]) -> Model:
    """The model of that name. Raises `OpenAIError` if there is none, or it serves another endpoint."""
    if not name:
        raise OpenAIError("you must provide a model parameter")
    model = OPENAI.get(name)
    if model is None:
        raise unknown_model(name)
    if model.kind not in kinds:
        message = f"The model `{name}` does not support this endpoint."
        raise OpenAIError(message, param="model", code="invalid_value")
    return model


def unknown_model(name: str) -> OpenAIError:
    """A name that is not sold."""
    message = f"The model `{name}` does not exist or you do not have access to it."
    return OpenAIError(message, status=404, code="model_not_found")


def openai_application(settings: EmulatorSettings, env: Env) -> web.Application:
    """All routes of OpenAI."""
    service = Service(settings, env, OpenAI(settings))
    return service.application(
        [
            service.sold("/v1/audio/transcriptions", transcription.transcriber(service, find)),
            service.sold("/v1/audio/translations", transcription.transcriber(service, find, "translate")),
            service.sold("/v1/audio/speech", speech.speaker(service, find)),
            service.sold("/v1/images/generations", images.painter(service, find)),
            service.sold("/v1/images/edits", images.editor(service, find)),
            service.sold("/v1/completions", text.completer(service, find)),
            service.sold("/v1/chat/completions", text.chatter(service, find)),
            service.sold("/v1/embeddings", text.embedder(service, find)),
            service.asked("/v1/models", _models),
            service.asked("/v1/models/{id}", _model),
        ]
    )


def _models(request: web.Request) -> dict[str, Any]:
    del request
    return {"object": "list", "data": [_described(model) for model in OPENAI.values()]}


def _model(request: web.Request) -> dict[str, Any]:
    name = request.match_info["id"]
    if name not in OPENAI:
        raise unknown_model(name)
    return _described(OPENAI[name])


def _described(model: Model) -> dict[str, Any]:
    described = {"id": model.name, "object": "model", "created": CREATED, "owned_by": "openai"}
    return {**described, "shutdown_date": model.shutdown_on}
