"""Rendered configuration, against golden files. `tests/gateway/test_gateway_golden.py` loads the same into Envoy."""

import json
from dataclasses import replace
from typing import Any

from google.protobuf import json_format
from syrupy.assertion import SnapshotAssertion

from insource.domain.identity import gateway_token
from insource.gateway.render.bootstrap import bootstrap
from insource.gateway.render.listeners import listeners
from insource.gateway.render.names import CLUSTER, ENDPOINTS, ROUTES
from insource.gateway.render.resources import Resource, render_deployment, render_key_list, render_plain
from insource.gateway.render.tls import secrets_file
from insource.gateway.view import ClientKey, DeploymentView
from tests.gateway import gateway_examples as examples


def as_json(resource: Resource) -> Any:
    return json_format.MessageToDict(resource.message.resource, preserving_proto_field_name=True)


def render(view: DeploymentView) -> dict[str, Any]:
    rendered = render_deployment(view, gateway_token(b"master", view.key.namespace), "/run/hold.sock")
    return {f"{each.type_url.rpartition('.')[2]} {each.name}": as_json(each) for each in rendered}


def test_in_house_with_canary_rescue_and_spill(snapshot: SnapshotAssertion) -> None:
    assert render(examples.IN_HOUSE) == snapshot


def test_vendor_primary(snapshot: SnapshotAssertion) -> None:
    assert render(examples.VENDOR) == snapshot


def test_cold_without_clients(snapshot: SnapshotAssertion) -> None:
    assert render(examples.COLD) == snapshot


def test_plain(snapshot: SnapshotAssertion) -> None:
    rendered = render_plain("/run/plain.sock")
    assert {f"{each.type_url.rpartition('.')[2]} {each.name}": as_json(each) for each in rendered} == snapshot


def test_keys(snapshot: SnapshotAssertion) -> None:
    assert as_json(render_key_list([ClientKey("alice", "sk-1"), ClientKey("bob", "sk-2")])) == snapshot


def test_bootstrap(snapshot: SnapshotAssertion) -> None:
    assert json.loads(json.dumps(bootstrap(examples.BOOTSTRAP))) == snapshot


def test_listeners(snapshot: SnapshotAssertion) -> None:
    assert json.loads(json.dumps(listeners(examples.LISTENERS))) == snapshot


def test_listeners_with_tls_and_probes(snapshot: SnapshotAssertion) -> None:
    settings = replace(examples.LISTENERS, tls_file="/state/tls.json", health=("0.0.0.0", 8081))
    edge, reentry, health = json.loads(json.dumps(listeners(settings)))
    plain, same = json.loads(json.dumps(listeners(examples.LISTENERS)))
    assert reentry == same
    edge_only = {**edge, "filter_chains": plain["filter_chains"]}
    assert edge_only == plain
    assert [edge["filter_chains"][0]["transport_socket"], health, secrets_file("/tls")] == snapshot


def test_versions_depend_on_content_only() -> None:
    def versions(view: DeploymentView) -> dict[str, str]:
        return {each.type_url: each.version for each in render_deployment(view, "t", "/h")}

    first = versions(examples.IN_HOUSE)
    assert first == versions(examples.IN_HOUSE)
    other = versions(replace(examples.IN_HOUSE, version=99, serve=examples.IN_HOUSE.serve[:1]))
    assert {kind for kind in first if first[kind] != other[kind]} == {ENDPOINTS}
    other = versions(replace(examples.IN_HOUSE, clients=("x",)))
    assert {kind for kind in first if first[kind] != other[kind]} == {ROUTES}
    assert CLUSTER in first


def test_the_repr_of_a_key_is_silent() -> None:
    assert "sk-1" not in repr(ClientKey("alice", "sk-1"))
