"""Azure OpenAI, emulated: OpenAI's dialect behind deployments, `api-key` and `api-version`, and Azure's own errors.

Classic: `/openai/deployments/{deployment}/...?api-version=`. v1: `/openai/v1/...`, with the deployment as `model`;
whisper deployments are not served there.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from insource.emulator import images, speech, text, transcription
from insource.emulator.azure import AzureResource, busy, deployed
from insource.emulator.errors import AzureError, OpenAIError, VendorError
from insource.emulator.faults import fault_message
from insource.emulator.forms import Find
from insource.emulator.limits import Verdict
from insource.emulator.models import AZURE_OPENAI, Kind, Model
from insource.emulator.service import Order, Reader, Service
from insource.emulator.settings import EmulatorSettings
from insource.env import Env

API_VERSIONS = ("2024-06-01", "2024-10-21", "2025-03-01-preview", "2025-04-01-preview")
NOT_DEPLOYED = (
    "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, "
    "please wait a moment and try again."
)
CREATED = 1_677_532_384


class AzureOpenAI(AzureResource):
    """Its manners."""

    requests_per_minute = 300

    def rate_limited(self, model: str, verdict: Verdict) -> VendorError:
        """429 in Azure's shape."""
        del model
        return AzureError("429", busy(verdict.retry_after_s), status=429, headers=verdict.retry_headers())

    def failure(self, status: int, request_id: str) -> VendorError:
        """The model's server_error, or the front's own."""
        del request_id
        return OpenAIError(fault_message(status), status=status, type="server_error", code="InternalServerError")

    def not_found(self, request: web.Request, status: int) -> VendorError:
        """`Resource not found`, whatever is wrong with the URL."""
        del request
        return no_resource(status)

    def headers(self, request_id: str, verdict: Verdict | None, took_ms: float) -> dict[str, str]:
        """`apim-request-id`, region, and what is left."""
        del took_ms
        limits = verdict.headers() if verdict else {}
        limits.pop("x-ratelimit-reset-requests", None)
        return {"apim-request-id": request_id, "x-request-id": request_id, "x-ms-region": "Emulator", **limits}


def no_resource(status: int = 404) -> AzureError:
    """An unknown path, or an `api-version` that does not have it."""
    return AzureError("404", "Resource not found", status=status)


def azure_openai_application(settings: EmulatorSettings, env: Env) -> web.Application:
    """All routes of Azure OpenAI. Raises `ValueError` for a deployment of an unknown model."""
    deployments = deployed(settings, AZURE_OPENAI)
    service = Service(settings, env, AzureOpenAI(settings))
    classic = "/openai/deployments/{deployment}"
    routes = []
    for path, make in _ENDPOINTS.items():
        routes.append(service.sold(f"{classic}{path}", _classic(service, make, deployments)))
        routes.append(service.sold(f"/openai/v1{path}", _v1(service, make, deployments)))
    routes.append(service.asked("/openai/v1/models", lambda request: _models(request, deployments)))
    return service.application(routes)


_ENDPOINTS = {
    "/audio/transcriptions": transcription.transcriber,
    "/audio/translations": lambda service, find: transcription.transcriber(service, find, "translate"),
    "/audio/speech": speech.speaker,
    "/images/generations": images.painter,
    "/images/edits": images.editor,
    "/completions": text.completer,
    "/chat/completions": text.chatter,
    "/embeddings": text.embedder,
}


def _classic(service: Service, make: Any, deployments: dict[str, Model]) -> Reader:
    async def read(request: web.Request) -> Order:
        if request.query.get("api-version") not in API_VERSIONS:
            raise no_resource()
        name = request.match_info["deployment"]
        if name not in deployments:
            raise AzureError("DeploymentNotFound", NOT_DEPLOYED, status=404)

        def find(named: str, kinds: tuple[Kind, ...]) -> Model:
            del named  # the path says which; a `model` in the body is ignored
            return _of_kind(deployments[name], kinds)

        return await _reader(service, make, find)(request)

    return read


def _v1(service: Service, make: Any, deployments: dict[str, Model]) -> Reader:
    def find(named: str, kinds: tuple[Kind, ...]) -> Model:
        if named not in deployments:
            raise AzureError("DeploymentNotFound", NOT_DEPLOYED, status=404)
        model = _of_kind(deployments[named], kinds)
        if model.kind == "whisper":
            raise not_supported(model)
        return model

    async def read(request: web.Request) -> Order:
        if request.query.get("api-version", "v1") not in ("v1", "preview"):
            raise AzureError("BadRequest", "API version not supported", status=400)
        return await _reader(service, make, find)(request)

    return read


def _reader(service: Service, make: Any, find: Find) -> Reader:
    reader: Reader = make(service, find)
    return reader


def _of_kind(model: Model, kinds: tuple[Kind, ...]) -> Model:
    if model.kind not in kinds:
        raise not_supported(model)
    return model


def not_supported(model: Model) -> AzureError:
    """A deployment whose model has no such operation."""
    message = f"The requested operation is unsupported for the model '{model.name}' of this deployment."
    return AzureError("OperationNotSupported", message, status=400)


def _models(request: web.Request, deployments: dict[str, Model]) -> dict[str, Any]:
    del request
    data = [{"id": name, "object": "model", "created": CREATED, "owned_by": "azure"} for name in deployments]
    return {"object": "list", "data": data}
