"""Plain `/v1/...`: its paths lead to the agent, which finds the ModelDeployment by the request's `model`."""

from __future__ import annotations

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2, scoped_route_pb2

from insource.gateway.render.clusters import CONNECT_TIMEOUT_MS, raise_limits, speak_http1
from insource.wire import paths

CLUSTER_NAME = "plain"
ROUTES_NAME = "rc/plain"
TIMEOUT_S = 2 * 3600
"""Not what bounds a request: that is its upload's time-out, and then the `requestTimeout` of its ModelDeployment."""
REPLAYED_BYTES = 1 << 20
"""A request up to this size survives a restart of the agent; Envoy keeps no larger one."""
RETRIES = 30
"""With the pauses between them about half a minute: longer than an agent takes to start."""


def render_plain_cluster(socket: str) -> cluster_pb2.Cluster:
    """The agent, listening on `socket`."""
    cluster = cluster_pb2.Cluster(name=CLUSTER_NAME, type=cluster_pb2.Cluster.STATIC)
    cluster.connect_timeout.FromMilliseconds(CONNECT_TIMEOUT_MS)
    raise_limits(cluster)
    speak_http1(cluster)
    cluster.load_assignment.cluster_name = CLUSTER_NAME
    endpoint = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint
    endpoint.address.pipe.path = socket
    return cluster


def render_plain_routes() -> route_pb2.RouteConfiguration:
    """Everybody with a key may ask. Note: what they may call is the agent's to decide, re-entry asks no key."""
    configuration = route_pb2.RouteConfiguration(name=ROUTES_NAME)
    host = configuration.virtual_hosts.add(name="v", domains=["*"], include_request_attempt_count=True)
    host.request_headers_to_remove.append("authorization")
    route = host.routes.add(name=CLUSTER_NAME)
    route.match.prefix = f"/{paths.PLAIN}/"
    route.request_body_buffer_limit.value = REPLAYED_BYTES
    action = route.route
    action.cluster = CLUSTER_NAME
    action.timeout.seconds = TIMEOUT_S
    action.idle_timeout.seconds = 0
    action.retry_policy.CopyFrom(_retry_policy())
    return configuration


def _retry_policy() -> route_components_pb2.RetryPolicy:
    # No status: whatever the agent answers was tried already.
    policy = route_components_pb2.RetryPolicy(retry_on="connect-failure,refused-stream,reset")
    policy.num_retries.value = RETRIES
    policy.retry_back_off.base_interval.FromMilliseconds(100)
    policy.retry_back_off.max_interval.FromMilliseconds(2000)
    return policy


def render_plain_scopes() -> list[scoped_route_pb2.ScopedRouteConfiguration]:
    """Path segments `v1` and each word that may follow it -> these routes."""
    scopes = []
    for word in paths.PLAIN_WORDS:
        scope = scoped_route_pb2.ScopedRouteConfiguration(
            name=f"sc/{CLUSTER_NAME}/{word}", route_configuration_name=ROUTES_NAME
        )
        for segment in (paths.PLAIN, word):
            scope.key.fragments.add().string_key = segment
        scopes.append(scope)
    return scopes
