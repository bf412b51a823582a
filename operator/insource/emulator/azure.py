"""What Azure's services have in common: keys in a header, deployments, and the words for a bad one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from insource.emulator.errors import AzureError, VendorError
from insource.emulator.keys import is_accepted
from insource.emulator.models import Model
from insource.emulator.settings import EmulatorSettings

BAD_KEY = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource."
)


def bad_key() -> AzureError:
    """The 401 of every Azure AI resource."""
    return AzureError("401", BAD_KEY, status=401)


def authenticate_azure(request: web.Request, header: str, key_file: Path) -> None:
    """By `header`, or `Authorization: Bearer` in an Entra token's place. Raises `AzureError`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    key = request.headers.get(header, "").strip() or (token.strip() if scheme.lower() == "bearer" else "")
    if not key or not is_accepted(key, key_file):
        raise bad_key()


def busy(wait_s: float) -> str:
    """Azure's words for a limit."""
    return (
        "Requests to this deployment have exceeded call rate limit of your current pricing tier. Please retry after "
        f"{max(1, round(wait_s))} seconds."
    )


class AzureResource:
    """The manners of all: how a caller is known."""

    key_header = "api-key"

    def __init__(self, settings: EmulatorSettings) -> None:
        self._key_file = settings.key_file

    def request_id(self, uuid: str) -> str:
        """A UUID."""
        return uuid

    def authenticate(self, request: web.Request) -> None:
        """By `key_header`, or a token."""
        authenticate_azure(request, self.key_header, self._key_file)

    def refused_key(self) -> VendorError:
        """The words for a key that was regenerated."""
        return bad_key()


def deployed(settings: EmulatorSettings, models: Mapping[str, Model]) -> dict[str, Model]:
    """Each of `models` under its own name, and what `settings` adds. Raises `ValueError` for an unknown model."""
    deployments = dict(models)
    for name, model in settings.deployments.items():
        if model not in models:
            raise ValueError(f"--deployment {name}={model}: the models are {', '.join(models)}")
        deployments[name] = models[model]
    return deployments
