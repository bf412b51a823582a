"""Rendered messages as xDS resources, whose version is the hash of their content.

A version that only depends on the content lets a restarted agent recognise what Envoy already has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message

from insource.gateway.render import names
from insource.gateway.render.clusters import render_cluster
from insource.gateway.render.endpoints import render_endpoints
from insource.gateway.render.keys import render_keys
from insource.gateway.render.plain import render_plain_cluster, render_plain_routes, render_plain_scopes
from insource.gateway.render.routes import render_routes, render_scope
from insource.gateway.view import ClientKey, DeploymentView


@dataclass(frozen=True)
class Resource:
    """One named, versioned resource, ready to be sent."""

    type_url: str
    name: str
    version: str
    message: discovery_pb2.Resource

    @property
    def identity(self) -> tuple[str, str]:
        """(type URL, name)."""
        return (self.type_url, self.name)


def render_deployment(
    view: DeploymentView, token: str, hold_socket: str
) -> tuple[Resource, Resource, Resource, Resource]:
    """Cluster, endpoints, routes and scope of one ModelDeployment."""
    return (
        _resource(names.CLUSTER, names.cluster_name(view.key), render_cluster(view)),
        _resource(names.ENDPOINTS, names.cluster_name(view.key), render_endpoints(view, hold_socket)),
        _resource(names.ROUTES, names.routes_name(view.key), render_routes(view, token)),
        _resource(names.SCOPE, names.scope_name(view.key), render_scope(view)),
    )


def render_plain(socket: str) -> list[Resource]:
    """Plain `/v1/...`: the way to the agent, listening on `socket`."""
    cluster, routes = render_plain_cluster(socket), render_plain_routes()
    return [
        _resource(names.CLUSTER, cluster.name, cluster),
        _resource(names.ROUTES, routes.name, routes),
        *(_resource(names.SCOPE, scope.name, scope) for scope in render_plain_scopes()),
    ]


def render_readiness() -> Resource:
    """The mark that this Envoy has been given all there was: its health listener answers 200 from then on."""
    cluster = cluster_pb2.Cluster(name=names.READINESS, type=cluster_pb2.Cluster.STATIC)
    cluster.load_assignment.cluster_name = names.READINESS
    endpoint = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint
    endpoint.address.pipe.path = "/dev/null"
    return _resource(names.CLUSTER, names.READINESS, cluster)


def render_key_list(keys: Iterable[ClientKey]) -> Resource:
    """The key filter's discovered configuration."""
    return _resource(names.EXTENSION, names.KEY_FILTER, render_keys(keys))


def _resource(type_url: str, name: str, message: Message) -> Resource:
    packed = discovery_pb2.Resource(name=name)
    packed.resource.Pack(message, deterministic=True)
    packed.version = hashlib.blake2b(packed.resource.value, digest_size=8).hexdigest()
    return Resource(type_url, name, packed.version, packed)
