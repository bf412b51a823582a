"""One authenticated request for a resource, with what its query asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from insource.local import apiserver_requests as requests
from insource.local.apiserver_answers import Form
from insource.local.apiserver_audit import SENT
from insource.local.apiserver_requests import Target
from insource.local.rbac import Request
from insource.local.store_admission import Guard
from insource.local.store_errors import Cause, Object, invalid
from insource.local.store_kinds import ResourceKind


@dataclass(frozen=True)
class Call:
    """One authenticated request for a resource."""

    request: web.Request
    target: Target
    kind: ResourceKind
    form: Form
    query: Mapping[str, str]
    require: Callable[[Request], None]
    """Raises ApiError 403 if the caller may not do that too."""
    guard: Guard | None
    """Whether the caller may write this very object, where that is a question of its own."""

    @property
    def validation(self) -> str:
        value = self.query.get("fieldValidation") or "Warn"
        if value not in ("Strict", "Warn", "Ignore"):
            text = f'Unsupported value: "{value}": supported values: "Ignore", "Strict", "Warn"'
            raise invalid("Options", "meta.k8s.io", "", [Cause("FieldValueNotSupported", text, "fieldValidation")])
        return value

    async def body(self) -> Any:
        raw = await self.request.read()
        media = self.request.headers.get("Content-Type", "")
        self.request[SENT] = sent = requests.read_body(raw, media, self.validation, self.kind.kind)
        return sent

    def writing(self) -> Object:
        """The options that every write takes."""
        agent = self.request.headers.get("User-Agent", "")
        return {
            "field_manager": requests.field_manager(self.query, agent),
            "field_validation": self.validation,
            "dry_run": requests.is_dry_run(self.query),
            "guard": self.guard,
        }
