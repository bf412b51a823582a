"""The listener that the kubelet asks: plain HTTP, apart from the clients' one, which may speak TLS and stops first."""

from __future__ import annotations

from typing import Any

from insource.gateway.render import names

Json = dict[str, Any]

HEALTH_PATH = "/ready"


def health_manager() -> Json:
    """200 at /ready once Envoy has everything, 503 before that and while it drains."""
    check = {
        "name": "envoy.filters.http.health_check",
        "typed_config": {
            "@type": names.TYPE + "envoy.extensions.filters.http.health_check.v3.HealthCheck",
            "pass_through_mode": False,
            "headers": [{"name": ":path", "string_match": {"exact": HEALTH_PATH}}],
            "cluster_min_healthy_percentages": {names.READINESS: {"value": 100}},
        },
    }
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": names.TYPE + "envoy.extensions.filters.http.router.v3.Router"},
    }
    return {
        "@type": names.HCM,
        "stat_prefix": "health",
        "server_name": "insource",
        "route_config": {"name": "health"},
        "http_filters": [check, router],
    }
