"""From Kubernetes objects to views: ladders, readiness, clients, duplicates."""

import base64
from typing import Any

import pytest

from insource.gateway.inventory import Inventory
from insource.gateway.objects import read_client, read_routing, read_slice
from insource.gateway.snapshot import deployment_bytes, load_snapshot, save_snapshot
from insource.gateway.view import DeploymentKey, DeploymentView, GatewayView

KEY = DeploymentKey("voice", "dictation")


def deployment(**traffic: Any) -> dict[str, Any]:
    standard = {
        "version": 3,
        "weights": [{"backend": "inhouse", "revision": "r1", "weight": 100}],
        "rescue": {"backend": "inhouse", "revision": "r1"},
        "spill": {"backend": "openai", "when": "Always"},
        "vendors": {"openai": {"name": "openai", "model": "whisper-1"}},
        "requestTimeoutSeconds": 60,
        "maxBodyBytes": 1000,
        "modality": "Transcription",
    }
    return {
        "metadata": {"namespace": "voice", "name": "dictation", "generation": 2},
        "status": {"traffic": {**standard, **traffic}},
    }


def endpoints(labels: dict[str, str], *hosts: tuple[str, bool | None]) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "voice",
            "name": "s",
            "labels": {f"insource.dev/{name}": value for name, value in labels.items()},
        },
        "endpoints": [{"addresses": [host], "conditions": {"ready": ready}} for host, ready in hosts],
        "ports": [
            {"name": "serve", "port": 8101},
            {"name": "rescue", "port": 8102},
            {"name": "spill", "port": 8103},
        ],
    }


IN_HOUSE = {"deployment": "dictation", "backend": "inhouse", "revision": "r1"}


def client(name: str, key: str, namespaces: str = "voice") -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "insource-system",
            "name": name,
            "labels": {"insource.dev/client": name},
            "annotations": {"insource.dev/namespaces": namespaces},
        },
        "data": {"key": base64.b64encode(key.encode()).decode()},
    }


def inventory(**traffic: Any) -> Inventory:
    known = Inventory()
    known.set_routing(KEY, read_routing(deployment(**traffic)))
    known.set_slice(("voice", "a"), read_slice(endpoints(IN_HOUSE, ("10.0.0.1", True), ("10.0.0.2", False))))
    known.set_slice(("voice", "b"), read_slice(endpoints({"vendor": "openai"}, ("10.0.0.9", None))))
    known.set_client(("insource-system", "alice"), read_client(client("alice", "sk-1")))
    return known


def view_of(known: Inventory) -> DeploymentView:
    found = known.view(KEY)
    assert found is not None
    return found


def test_roles_pick_ports_and_only_ready_endpoints_serve() -> None:
    found = view_of(inventory())
    assert [pool.addresses for pool in found.serve] == [(("10.0.0.1", 8101),)]
    assert [pool.addresses for pool in found.rescue] == [(("10.0.0.1", 8102),)]
    assert [(pool.addresses, pool.vendor) for pool in found.spill] == [((("10.0.0.9", 8103),), "openai")]
    assert (found.version, found.generation, found.clients) == (3, 2, ("alice",))
    assert (found.request_timeout_s, found.max_body_bytes) == (60, 1000)
    assert found.backends_ready == 3


def test_cold_start_spills_only_while_nothing_serves() -> None:
    known = inventory(spill={"backend": "openai", "when": "ColdStart"})
    assert view_of(known).spill == ()
    known.set_slice(("voice", "a"), None)
    assert view_of(known).spill[0].addresses == (("10.0.0.9", 8103),)


def test_a_vendor_primary_is_served_by_its_serve_port() -> None:
    known = inventory(weights=[{"backend": "openai", "revision": "", "weight": 100}], rescue=None, spill=None)
    (pool,) = view_of(known).serve
    assert (pool.addresses, pool.kind.value) == ((("10.0.0.9", 8101),), "vendor")


def test_another_revisions_endpoints_do_not_serve() -> None:
    known = inventory(weights=[{"backend": "inhouse", "revision": "r2", "weight": 100}])
    assert view_of(known).serve[0].addresses == ()


def test_changes_touch_only_their_deployments() -> None:
    known = inventory()
    known.dirty.clear()
    known.set_slice(("voice", "b"), None)
    assert known.dirty == {KEY}
    known.dirty.clear()
    known.set_client(("insource-system", "zoe"), read_client(client("zoe", "sk-9", "elsewhere")))
    assert known.dirty == set()
    assert known.keys_dirty


def admitted(*listed: str) -> tuple[str, ...]:
    known = inventory()
    known.set_client(("insource-system", "bob"), read_client(client("bob", "sk-2", "voice,team")))
    known.set_client(("insource-system", "carol"), read_client(client("carol", "sk-3", "team")))
    document = {**deployment(), "spec": {"access": {"clients": list(listed)}}}
    known.set_routing(KEY, read_routing(document))
    return view_of(known).clients


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ((), ("alice", "bob")),
        (("alice",), ("alice",)),
        (("carol",), ()),  # a client of another namespace needs it named
        (("team/carol",), ("carol",)),
        (("voice/carol",), ()),  # carol does not act for voice
        (("alice", "team/carol"), ("alice", "carol")),
        (("team/bob", "bob"), ("bob",)),
        (("*",), ("alice", "bob", "carol")),
        (("nobody",), ()),
    ],
)
def test_access_lists_who_may_call(listed: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert admitted(*listed) == expected


def test_a_listed_client_of_another_namespace_touches_the_deployment_when_it_comes_and_goes() -> None:
    known = inventory()
    known.set_routing(KEY, read_routing({**deployment(), "spec": {"access": {"clients": ["team/carol"]}}}))
    known.dirty.clear()
    known.set_client(("insource-system", "carol"), read_client(client("carol", "sk-3", "team")))
    assert known.dirty == {KEY}
    assert view_of(known).clients == ("carol",)
    known.dirty.clear()
    known.set_client(("insource-system", "carol"), read_client(client("carol", "sk-3", "elsewhere")))
    assert known.dirty == {KEY}
    assert view_of(known).clients == ()


def test_a_key_of_two_clients_belongs_to_the_first_and_is_reported() -> None:
    known = inventory()
    known.set_client(("insource-system", "mallory"), read_client(client("mallory", "sk-1")))
    keys, duplicates = known.client_keys()
    assert [(each.client, each.key) for each in keys] == [("alice", "sk-1")]
    assert duplicates == ("mallory",)


def test_useless_objects_are_nothing() -> None:
    assert read_routing({"metadata": {"namespace": "voice", "name": "x"}}) is None
    assert read_client({"metadata": {"name": "x"}, "data": {"key": "c2s="}}) is None
    assert read_client({**client("a", ""), "data": {"key": "%%%"}}) is None
    assert read_slice({"metadata": {"namespace": "voice", "name": "x"}}) is None


def test_a_snapshot_comes_back_as_it_was(tmp_path: Any) -> None:
    known = inventory()
    world = GatewayView((view_of(known),), known.client_keys()[0])
    path = tmp_path / "snapshot.json"
    save_snapshot(path, map(deployment_bytes, world.deployments), world.keys)
    assert load_snapshot(path) == world
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("{")
    assert load_snapshot(path) is None
