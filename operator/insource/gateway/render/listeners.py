"""Two listeners with the same scoped routes: the edge, for clients, and re-entry, for the agent on a unix socket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from insource.gateway.render import logs, names
from insource.gateway.render.health import health_manager
from insource.gateway.render.names import HCM
from insource.gateway.render.replies import local_reply_config
from insource.gateway.render.tls import tls_socket
from insource.wire import headers

Json = dict[str, Any]

ADS_SOURCE: Json = {"resource_api_version": "V3", "ads": {}, "initial_fetch_timeout": "0s"}
RESPONSE_SECRETS = (headers.OUTCOME, "x-envoy-ratelimited")
"""What adapters and the activator say to the gateway only. They send no other headers of such names, nor a server's."""


@dataclass(frozen=True)
class ListenerSettings:
    """What the listeners depend on besides the code."""

    host: str
    port: int
    reentry_socket: str
    access_log: str
    boot: str
    """Name of this start of Envoy, unique."""
    upload_timeout_s: int = 600
    """How long a client may take to send one request."""
    tls_file: str = ""
    """File with the certificate as Envoy's secret; empty: plain HTTP."""
    health: tuple[str, int] | None = None
    """Host and port of the listener for probes."""


def listeners(settings: ListenerSettings) -> list[Json]:
    """Both, and the one for probes if it is wanted, as JSON data."""
    reentry = {"pipe": {"path": settings.reentry_socket, "mode": 0o600}}
    edge = _listener("edge", _socket(settings.host, settings.port), _edge(settings))
    # While draining, only the listeners with this mark stop taking connections.
    edge["traffic_direction"] = "INBOUND"
    if settings.tls_file:
        edge["filter_chains"][0]["transport_socket"] = tls_socket(settings.tls_file)
    rendered = [edge, _listener("reentry", reentry, _reentry(settings))]
    if settings.health:
        rendered.append(_listener("health", _socket(*settings.health), health_manager()))
    return rendered


def _socket(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _listener(name: str, address: Json, manager: Json) -> Json:
    return {
        "name": name,
        "address": address,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _edge(settings: ListenerSettings) -> Json:
    keys = {
        "name": names.KEY_FILTER,
        "config_discovery": {
            "config_source": ADS_SOURCE,
            "type_urls": [names.TYPE + "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth"],
        },
    }
    early = {
        "name": "insource.hygiene",
        "typed_config": {
            "@type": names.TYPE + "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": [_remove("x-insource-"), _remove("x-envoy-"), {"remove": "x-request-id"}],
        },
    }
    return {
        **_manager("edge", settings, [keys, logs.outcome_filter(RESPONSE_SECRETS)]),
        "use_remote_address": True,
        "early_header_mutation_extensions": [early],
        # The SDK writes the name of a model as one segment of a path. Sent back, so that a proxy before us, which may
        # have rules about paths, sees the path that we see.
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        # A route's idle time-out is 0, so this is what ends an upload that stalls.
        "request_timeout": f"{settings.upload_timeout_s}s",
        "request_headers_timeout": "15s",
    }


def _reentry(settings: ListenerSettings) -> Json:
    # The agent keeps the request id, names its hop, and may limit the retries: it counts as internal.
    return {
        **_manager("reentry", settings, [logs.outcome_filter()]),
        "use_remote_address": True,
        "skip_xff_append": True,
        "internal_address_config": {"unix_sockets": True},
        "preserve_external_request_id": True,
    }


def _manager(kind: str, settings: ListenerSettings, filters: list[Json]) -> Json:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": names.TYPE + "envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": True,
            "upstream_log": logs.attempt_log(settings.access_log, settings.boot),
        },
    }
    return {
        "@type": HCM,
        "stat_prefix": kind,
        "server_name": "insource",
        "scoped_routes": _scoped_routes(),
        "access_log": logs.request_log(settings.access_log, settings.boot),
        "http_filters": [*filters, router],
        "local_reply_config": local_reply_config(),
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        # Note: x_insource_client would pass the prefix rule, and some servers fold _ and -.
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
    }


def _scoped_routes() -> Json:
    fragments = [
        {"header_value_extractor": {"name": ":path", "element_separator": "/", "index": segment}} for segment in (1, 2)
    ]
    return {
        "name": "deployments",
        "scope_key_builder": {"fragments": fragments},
        "rds_config_source": ADS_SOURCE,
        "scoped_rds": {"scoped_rds_config_source": ADS_SOURCE},
    }


def _remove(prefix: str) -> Json:
    return {"remove_on_match": {"key_matcher": {"prefix": prefix}}}
