"""Envoy's bootstrap: where its agent is, where its admin is, and which statistics are worth their memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from insource.gateway.render import names
from insource.gateway.render.listeners import ADS_SOURCE

Json = dict[str, Any]

ACTIVE = "upstream_rq_active"
KEPT_STATS: tuple[Json, ...] = (
    {"suffix": f".{ACTIVE}"},
    {"suffix": ".retry_or_shadow_abandoned"},
    {"prefix": "http.edge.downstream_"},
    {"prefix": "http.reentry.downstream_"},
    {"prefix": "cluster_manager."},
    {"prefix": "listener_manager."},
    {"prefix": "server."},
    {"prefix": "overload."},
    # Note: the health filter counts by these: without them it would never answer 200.
    {"prefix": f"cluster.{names.READINESS}.membership_"},
    {"suffix": ".key_rotation_failed"},
)
"""The rest would cost memory for every deployment, and nobody reads it."""


@dataclass(frozen=True)
class BootstrapSettings:
    """What the bootstrap depends on besides the code."""

    node: str
    ads_socket: str
    admin_socket: str
    listeners_file: str
    max_heap_bytes: int = 0
    """Above 95 % of it new requests are refused with 503. 0: no limit."""


def bootstrap(settings: BootstrapSettings) -> Json:
    """The bootstrap as JSON data. Listeners are in a file of their own, everything else comes by one ADS stream."""
    document: Json = {
        "node": {"id": settings.node, "cluster": "insource-gateway"},
        "admin": {"address": {"pipe": {"path": settings.admin_socket, "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": _ads_config(),
            "cds_config": ADS_SOURCE,
            "lds_config": {
                "resource_api_version": "V3",
                "path_config_source": {"path": settings.listeners_file},
                "initial_fetch_timeout": "0s",
            },
        },
        "static_resources": {"clusters": [_agent(settings.ads_socket)]},
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": list(KEPT_STATS)}}},
    }
    if settings.max_heap_bytes:
        document["overload_manager"] = _overload(settings.max_heap_bytes)
    return document


def listeners_file(rendered: list[Json]) -> Json:
    """The file that `lds_config` names."""
    type_url = names.TYPE + "envoy.config.listener.v3.Listener"
    return {"resources": [{"@type": type_url, **listener} for listener in rendered]}


def _ads_config() -> Json:
    back_off = {"base_interval": "0.1s", "max_interval": "1s"}
    return {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": {"cluster_name": "agent", "retry_policy": {"retry_back_off": back_off}}}],
    }


def _agent(socket: str) -> Json:
    options = {
        "@type": names.TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoint = {"endpoint": {"address": {"pipe": {"path": socket}}}}
    return {
        "name": "agent",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {"cluster_name": "agent", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _overload(max_heap_bytes: int) -> Json:
    monitor = "envoy.resource_monitors.fixed_heap"
    heap = {
        "@type": names.TYPE + "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
        "max_heap_size_bytes": max_heap_bytes,
    }
    thresholds = (("envoy.overload_actions.shrink_heap", 0.9), ("envoy.overload_actions.stop_accepting_requests", 0.95))
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [{"name": monitor, "typed_config": heap}],
        "actions": [
            {"name": action, "triggers": [{"name": monitor, "threshold": {"value": value}}]}
            for action, value in thresholds
        ],
    }
