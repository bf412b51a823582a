"""The names by which Envoy's resources refer to each other, and their type URLs."""

from __future__ import annotations

from insource.gateway.view import DeploymentKey

TYPE = "type.googleapis.com/"
CLUSTER = TYPE + "envoy.config.cluster.v3.Cluster"
ENDPOINTS = TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment"
ROUTES = TYPE + "envoy.config.route.v3.RouteConfiguration"
SCOPE = TYPE + "envoy.config.route.v3.ScopedRouteConfiguration"
EXTENSION = TYPE + "envoy.config.core.v3.TypedExtensionConfig"
HCM = TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

KEY_FILTER = "insource.keys"
"""Name of the filter in the listener, of its discovered configuration, and of its per-route override."""
METADATA = "insource"
"""Namespace of our metadata on endpoints, routes and requests."""
CLUSTER_PREFIX = "md/"
READINESS = "readiness"
"""A cluster that Envoy is given once it has everything else; nothing is ever sent there."""
TLS_SECRET = "gateway"
"""The secret with the certificate that clients are shown."""


def cluster_name(key: DeploymentKey) -> str:
    """Also the name of its ClusterLoadAssignment."""
    return f"{CLUSTER_PREFIX}{key}"


def routes_name(key: DeploymentKey) -> str:
    """The deployment's RouteConfiguration."""
    return f"rc/{key}"


def scope_name(key: DeploymentKey) -> str:
    """The scope that leads a path to that RouteConfiguration."""
    return f"sc/{key}"
