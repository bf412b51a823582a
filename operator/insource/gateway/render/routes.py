"""One small RouteConfiguration per ModelDeployment, and the scope that leads `/<namespace>/<name>/...` to it."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2, scoped_route_pb2
from envoy.extensions.filters.http.api_key_auth.v3 import api_key_auth_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2

from insource.gateway.render import names
from insource.gateway.view import DeploymentView
from insource.wire import headers

NOBODY = "!nobody"
"""No client can have this name (it is no label value). Note: an empty list of allowed clients admits everyone."""
RETRIES = 3
RETRIABLE_CODES = (429, 502, 503)
RETRY_ON = "connect-failure,refused-stream,reset,retriable-status-codes"


def _retry_policy() -> route_components_pb2.RetryPolicy:
    policy = route_components_pb2.RetryPolicy(retry_on=RETRY_ON, retriable_status_codes=RETRIABLE_CODES)
    policy.num_retries.value = RETRIES
    policy.retry_back_off.base_interval.FromMilliseconds(5)
    policy.retry_back_off.max_interval.FromMilliseconds(10)
    policy.retry_priority.name = "envoy.retry_priorities.previous_priorities"
    policy.retry_priority.typed_config.Pack(
        previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=1), deterministic=True
    )
    return policy


_RETRY_POLICY = _retry_policy()


def render_scope(view: DeploymentView) -> scoped_route_pb2.ScopedRouteConfiguration:
    """Path segments 1 and 2 -> the deployment's routes."""
    scope = scoped_route_pb2.ScopedRouteConfiguration(
        name=names.scope_name(view.key), route_configuration_name=names.routes_name(view.key)
    )
    for segment in (view.key.namespace, view.key.name):
        scope.key.fragments.add().string_key = segment
    return scope


def render_routes(view: DeploymentView, token: str) -> route_pb2.RouteConfiguration:
    """The deployment's routes: too large first, then the ladder. `token` is its namespace's gateway token."""
    configuration = route_pb2.RouteConfiguration(name=names.routes_name(view.key))
    host = configuration.virtual_hosts.add(name="v", domains=["*"], include_request_attempt_count=True)
    for name, value in (
        (headers.NAMESPACE, view.key.namespace),
        (headers.DEPLOYMENT, view.key.name),
        (headers.TOKEN, token),
    ):
        host.request_headers_to_add.append(_overwrite(name, value))
    host.request_headers_to_remove.append("authorization")
    host.routes.append(_too_large(view))
    host.routes.append(_ladder(view))
    configuration.typed_per_filter_config[names.KEY_FILTER].Pack(_allowed(view), deterministic=True)
    return configuration


def _route(view: DeploymentView) -> route_components_pb2.Route:
    route = route_components_pb2.Route(name=str(view.key))
    route.match.prefix = f"/{view.key}/"
    route.metadata.filter_metadata[names.METADATA].fields["deployment"].string_value = str(view.key)
    return route


def _too_large(view: DeploymentView) -> route_components_pb2.Route:
    # Nothing else in Envoy answers 413 here. Chunked bodies escape this: the adapter must refuse those.
    route = _route(view)
    length = route.match.headers.add(name="content-length")
    length.range_match.start = view.max_body_bytes + 1
    length.range_match.end = 1 << 62
    route.direct_response.status = 413
    words = f"The request body is larger than this deployment's limit of {view.max_body_bytes} bytes."
    route.direct_response.body.inline_string = words
    return route


def _ladder(view: DeploymentView) -> route_components_pb2.Route:
    route = _route(view)
    # Note: without it, larger uploads are not replayed to the next priority.
    route.request_body_buffer_limit.value = view.max_body_bytes
    action = route.route
    action.cluster = names.cluster_name(view.key)
    action.prefix_rewrite = "/"
    action.timeout.seconds = view.request_timeout_s
    # A long transcription sends nothing for minutes; `timeout` bounds it.
    action.idle_timeout.seconds = 0
    action.retry_policy.CopyFrom(_RETRY_POLICY)
    return route


def _allowed(view: DeploymentView) -> api_key_auth_pb2.ApiKeyAuthPerRoute:
    per_route = api_key_auth_pb2.ApiKeyAuthPerRoute(allowed_clients=view.clients or (NOBODY,))
    # Note: without it the filter's own forwarding is ignored: no client header, and the key goes upstream.
    per_route.forwarding.header = headers.CLIENT
    per_route.forwarding.hide_credentials = True
    return per_route


def _overwrite(name: str, value: str) -> base_pb2.HeaderValueOption:
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=name, value=value),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
