"""One EDS cluster per ModelDeployment. Its weights and addresses are in its endpoints, so it hardly ever changes."""

from __future__ import annotations

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import base_pb2, config_source_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import any_pb2

from insource.gateway.render import names
from insource.gateway.view import DeploymentView
from insource.wire import headers
from insource.wire.vocabulary import Outcome

CONNECT_TIMEOUT_MS = 1000
UPSTREAM_IDLE_S = 30
"""Below every adapter's keep-alive time, so that Envoy never writes on a connection that the other side is closing."""
NO_LIMIT = 1_000_000
_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
CHOICES = 4
"""LEAST_REQUEST's `choice_count`: with 2, a stopped replica still gets a share of the requests."""
FAILURES = 3
"""So many in a row take an address out for a while: an adapter whose server is dead fails fast, and LEAST_REQUEST would
prefer it. The activator gives up on a request after as many, so the last try of one that met the same dead address
each time goes elsewhere."""
EJECTION_MS = 2000
"""Readiness takes a dead pod away for good, within seconds. Not longer: one that is alone keeps requests waiting."""
SWEEP_MS = 1000
"""How often Envoy looks whose time out is over. Every cluster has a timer of its own."""
MOST_EJECTED_PERCENT = 99
"""Never the last one. That is the activator, where the requests wait if all others are out."""
HOST_FAULTS = (Outcome.SERVER, Outcome.TIMEOUT)
"""Outcomes that count as failures of the address. Not those that say full, forbidden, or the client's own fault; and
not the activator's answers, which carry none."""


def ads_source() -> config_source_pb2.ConfigSource:
    """ "Ask the one ADS stream", waiting for as long as it takes: without its agent Envoy is not Ready."""
    source = config_source_pb2.ConfigSource(resource_api_version=config_source_pb2.V3)
    source.ads.SetInParent()
    source.initial_fetch_timeout.seconds = 0
    return source


def _protocol_options() -> any_pb2.Any:
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.explicit_http_config.http_protocol_options.SetInParent()
    options.common_http_protocol_options.idle_timeout.seconds = UPSTREAM_IDLE_S
    for outcome in HOST_FAULTS:
        rule = options.outlier_detection.error_matcher.or_match.rules.add()
        header = rule.http_response_headers_match.headers.add(name=headers.OUTCOME)
        header.string_match.exact = outcome.value
    packed = any_pb2.Any()
    packed.Pack(options, deterministic=True)
    return packed


def _ejection() -> outlier_detection_pb2.OutlierDetection:
    ejection = outlier_detection_pb2.OutlierDetection()
    ejection.consecutive_5xx.value = FAILURES
    ejection.enforcing_success_rate.value = 0
    ejection.interval.FromMilliseconds(SWEEP_MS)
    # Note: Envoy multiplies the first by the number of ejections, up to the second.
    ejection.base_ejection_time.FromMilliseconds(EJECTION_MS)
    ejection.max_ejection_time.FromMilliseconds(EJECTION_MS)
    ejection.max_ejection_percent.value = MOST_EJECTED_PERCENT
    return ejection


def raise_limits(cluster: cluster_pb2.Cluster) -> None:
    """Take Envoy's own limits off a cluster. Note: 3 for max_retries drops retries under load; adapters shed."""
    for priority in (base_pb2.DEFAULT, base_pb2.HIGH):
        limits = circuit_breaker_pb2.CircuitBreakers.Thresholds(priority=priority)
        for limit in (limits.max_connections, limits.max_pending_requests, limits.max_requests, limits.max_retries):
            limit.value = NO_LIMIT
        cluster.circuit_breakers.thresholds.append(limits)


def speak_http1(cluster: cluster_pb2.Cluster) -> None:
    """Connections of HTTP/1.1, let go of when idle."""
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.explicit_http_config.http_protocol_options.SetInParent()
    options.common_http_protocol_options.idle_timeout.seconds = UPSTREAM_IDLE_S
    cluster.typed_extension_protocol_options[_PROTOCOL_OPTIONS].Pack(options, deterministic=True)


def _template() -> cluster_pb2.Cluster:
    cluster = cluster_pb2.Cluster(type=cluster_pb2.Cluster.EDS, lb_policy=cluster_pb2.Cluster.LEAST_REQUEST)
    cluster.connect_timeout.FromMilliseconds(CONNECT_TIMEOUT_MS)
    cluster.least_request_lb_config.choice_count.value = CHOICES
    cluster.common_lb_config.locality_weighted_lb_config.SetInParent()
    cluster.common_lb_config.healthy_panic_threshold.value = 0.0
    # Note: by default Envoy gathers such changes for a second: an address that fails again would be out only then.
    cluster.common_lb_config.update_merge_window.FromMilliseconds(0)
    raise_limits(cluster)
    cluster.outlier_detection.CopyFrom(_ejection())
    cluster.typed_extension_protocol_options[_PROTOCOL_OPTIONS].CopyFrom(_protocol_options())
    cluster.eds_cluster_config.eds_config.CopyFrom(ads_source())
    return cluster


_TEMPLATE = _template()


def render_cluster(view: DeploymentView) -> cluster_pb2.Cluster:
    """The deployment's cluster: everything except where it leads."""
    cluster = cluster_pb2.Cluster()
    cluster.CopyFrom(_TEMPLATE)
    cluster.name = names.cluster_name(view.key)
    cluster.eds_cluster_config.service_name = cluster.name
    return cluster
