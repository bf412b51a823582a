"""The access log's lines: one per attempt (the router's) and one per request (the listener's), in one file.

Only what `gateway.log_lines` reads is written: every field costs CPU on every request. Never a header that a
client chooses, and never a key, a token or a path.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

ATTEMPT = "a"
REQUEST = "r"

_COMMON = {
    "id": "%REQ(X-REQUEST-ID)%",
    "hop": "%REQ(X-INSOURCE-HOP)%",
    "dep": "%METADATA(ROUTE:insource:deployment)%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
}
_ATTEMPT_FIELDS = {
    **_COMMON,
    "n": "%REQ(X-ENVOY-ATTEMPT-COUNT)%",
    "backend": "%UPSTREAM_METADATA(insource:backend)%",
    "revision": "%UPSTREAM_METADATA(insource:revision)%",
    "role": "%UPSTREAM_METADATA(insource:role)%",
    "kind": "%UPSTREAM_METADATA(insource:kind)%",
    "vendor": "%UPSTREAM_METADATA(insource:vendor)%",
    "outcome": "%RESP(X-INSOURCE-OUTCOME)%",
    "at": "%START_TIME(%s%3f)%",
    "ms": "%DURATION%",
}
_REQUEST_FIELDS = {**_COMMON, "n": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"}


def attempt_log(path: str, boot: str) -> list[Json]:
    """`Router.upstream_log`. `boot` names this start of Envoy: an attempt of an earlier one is never completed."""
    return _file(path, {**_ATTEMPT_FIELDS, "k": ATTEMPT, "boot": boot})


def request_log(path: str, boot: str) -> list[Json]:
    """`HttpConnectionManager.access_log`."""
    return _file(path, {**_REQUEST_FIELDS, "k": REQUEST, "boot": boot})


def _file(path: str, fields: dict[str, str]) -> list[Json]:
    config = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": path,
        "log_format": {"json_format": fields},
    }
    return [{"name": "file", "typed_config": config}]
