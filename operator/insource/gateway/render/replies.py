"""Envoy's own answers in OpenAI's error shape, so that SDKs turn them into their exceptions."""

from __future__ import annotations

from typing import Any

from insource.gateway.render.logs import status_is
from insource.wire.errors import error_body

Json = dict[str, Any]


def local_reply_config() -> Json:
    """`HttpConnectionManager.local_reply_config`. Answers of adapters pass untouched."""
    return {"mappers": _mappers(), "body_format": _body("%LOCAL_REPLY_BODY%", "server_error", "gateway_error")}


def _mappers() -> list[Json]:
    bad = "invalid_request_error"
    ours = "server_error"
    return [
        _reply(_status(400), "Malformed request (%RESPONSE_CODE_DETAILS%).", bad, "bad_request"),
        _reply(
            _status(401),
            "Missing or unknown API key. Send it as 'Authorization: Bearer <key>'.",
            bad,
            "invalid_api_key",
            ("www-authenticate", "Bearer"),
        ),
        _reply(_status(403), "This API key may not call this deployment.", bad, "permission_denied"),
        _reply(
            _status(404),
            "No deployment at this path. Set base_url to <gateway>/<namespace>/<name>/v1.",
            bad,
            "model_not_found",
        ),
        _reply(_status(408), "The request body did not arrive in time.", bad, "request_timeout"),
        # Only a deployment's own route answers it, with the words that name its limit.
        _reply(_status(413), "%LOCAL_REPLY_BODY%", bad, "request_too_large"),
        _reply(
            _both(_status(503), _flags("UO")), "The gateway is at its limit.", ours, "overloaded", ("retry-after", "1")
        ),
        _reply(
            _both(_status(503), _flags("UH", "NC")),
            "No replica of this deployment can take a request now.",
            ours,
            "no_capacity",
            ("retry-after", "5"),
        ),
        # Note: no %RESPONSE_CODE_DETAILS% in this one: it shows addresses.
        _reply(
            _both(_status(503), _flags()),
            "The deployment did not answer.",
            ours,
            "upstream_unavailable",
            ("retry-after", "1"),
        ),
        # What is left has no flag at all: Envoy is short of memory.
        _reply(_status(503), "The gateway is at its limit.", ours, "overloaded", ("retry-after", "1")),
        _reply(_status(502), "The deployment broke the HTTP protocol.", ours, "bad_gateway"),
        _reply(_status(504), "The deployment did not finish within its request timeout.", ours, "timeout"),
        _reply(_status(500), "The gateway has no usable key list yet.", ours, "gateway_not_ready"),
    ]


def _body(message: str, error_type: str, code: str) -> Json:
    return {"json_format": error_body(message, type=error_type, code=code), "content_type": "application/json"}


def _reply(condition: Json, message: str, error_type: str, code: str, *extra: tuple[str, str]) -> Json:
    mapper: Json = {"filter": condition, "body_format_override": _body(message, error_type, code)}
    if extra:
        mapper["headers_to_add"] = [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in extra
        ]
    return mapper


def _status(code: int) -> Json:
    return {"status_code_filter": status_is(code)}


def _flags(*flags: str) -> Json:
    return {"response_flag_filter": {"flags": list(flags)}}


def _both(*filters: Json) -> Json:
    return {"and_filter": {"filters": list(filters)}}
