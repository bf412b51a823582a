"""Raw Envoy: a listener, the router, one cluster, no log. The least that our gateway could cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from insource.gateway.envoy import envoy_binary

TYPES = "type.googleapis.com/envoy.extensions"


def command(folder: Path, port: int, backend_port: int) -> list[str]:
    """Write the configuration into `folder` and return the command line, one worker."""
    path = folder / "raw-envoy.json"
    path.write_text(json.dumps(_bootstrap(port, backend_port)))
    return [str(envoy_binary()), "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]


def _bootstrap(port: int, backend_port: int) -> dict[str, Any]:
    router = {"name": "router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "600s"}}
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "raw",
        "http_filters": [router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    endpoint = {"endpoint": {"address": _address(backend_port)}}
    cluster = {
        "name": "backend",
        "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listener = {
        "name": "raw",
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
