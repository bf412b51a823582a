"""The ladder: priorities serve, rescue, spill, hold, and within serve the split as locality weights.

An empty priority is left out: Envoy then goes to the next one without a failed attempt.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from insource.gateway.render import names
from insource.gateway.view import HOLD, DeploymentView, Pool

HEALTHY_ENOUGH = 100_000
"""Overprovisioning in percent: while one address of a priority is not ejected, all requests go to that priority. By
default some would go on to the next one, which may be a vendor, as soon as a third is out."""


def render_endpoints(view: DeploymentView, hold_socket: str) -> endpoint_pb2.ClusterLoadAssignment:
    """The deployment's endpoints. `hold_socket` is the path of the agent's activator."""
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=names.cluster_name(view.key))
    assignment.policy.overprovisioning_factor.value = HEALTHY_ENOUGH
    priority = 0
    # Note: priorities must be numbered without a gap, and an address may be in one of them only.
    for pools in (view.serve, view.rescue, view.spill):
        localities = [_locality(pool, priority) for pool in pools if pool.weight > 0 and pool.addresses]
        assignment.endpoints.extend(localities)
        priority += bool(localities)
    assignment.endpoints.append(_hold(hold_socket, priority))
    return assignment


def _locality(pool: Pool, priority: int) -> endpoint_components_pb2.LocalityLbEndpoints:
    locality = endpoint_components_pb2.LocalityLbEndpoints(priority=priority)
    locality.locality.zone = pool.backend
    locality.locality.sub_zone = f"{pool.revision}/{pool.role}"
    locality.load_balancing_weight.value = pool.weight
    tags = (
        ("backend", pool.backend),
        ("revision", pool.revision),
        ("role", pool.role.value),
        ("kind", pool.kind.value),
        ("vendor", pool.vendor),
    )
    metadata = _metadata(tags)
    for host, port in pool.addresses:
        endpoint = locality.lb_endpoints.add()
        endpoint.endpoint.address.socket_address.address = host
        endpoint.endpoint.address.socket_address.port_value = port
        endpoint.metadata.CopyFrom(metadata)
    return locality


def _hold(socket: str, priority: int) -> endpoint_components_pb2.LocalityLbEndpoints:
    locality = endpoint_components_pb2.LocalityLbEndpoints(priority=priority)
    locality.locality.zone = HOLD
    locality.load_balancing_weight.value = 1
    endpoint = locality.lb_endpoints.add()
    endpoint.endpoint.address.pipe.path = socket
    endpoint.metadata.CopyFrom(_metadata((("role", HOLD),)))
    return locality


def _metadata(tags: Iterable[tuple[str, str]]) -> base_pb2.Metadata:
    metadata = base_pb2.Metadata()
    fields = metadata.filter_metadata[names.METADATA].fields
    for name, value in tags:
        if value:
            fields[name].string_value = value
    return metadata
