"""The gateway's answer to a name and the operator's condition about it are two views of one rule."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from insource.api.kinds import Misfit
from insource.domain.served_names import contests
from insource.domain.snapshot import claim_of
from insource.gateway.directory import Directory
from insource.gateway.inventory import Inventory
from insource.gateway.objects import read_client, read_routing
from insource.gateway.view import DeploymentKey
from insource.kube.resources import Key
from insource.reconciler.caches import Caches
from tests.unit.domain_world import spec
from tests.unit.test_gateway_inventory import client as secret
from tests.unit.test_gateway_inventory import deployment as routed

NAMES = ["whisper-1", "tiny", "voice/a", "mail/b"]
CLIENTS = [(namespace, name) for namespace in ("mail", "voice", "team") for name in ("app", "second")]
"""Each of one namespace; nobody has a ModelDeployment in the last one."""
ACCESS = ["*", "app", "second", *(f"{namespace}/{name}" for namespace, name in CLIENTS)]
KEYS = [(namespace, name) for namespace in ("mail", "voice") for name in ("a", "b", "c")]

objects = st.fixed_dictionaries(
    {
        "minute": st.integers(0, 2),
        "names": st.lists(st.sampled_from(NAMES), unique=True, max_size=3),
        "clients": st.lists(st.sampled_from(ACCESS), unique=True, max_size=2),
        "routed": st.booleans() | st.just(True),
    }
)
changes = st.lists(st.tuples(st.sampled_from(KEYS), objects | st.none()), min_size=1, max_size=12)


class Operator:
    """The operator's caches and index, told of one change after the other."""

    def __init__(self) -> None:
        self.caches = Caches()
        self.version = 0

    def change(self, key: Key, wanted: dict[str, Any] | None) -> set[Key]:
        """Who is looked at again for it."""
        self.version += 1
        if wanted is not None:
            self.caches.deployments.observe(manifest(key, wanted, self.version))
        elif self.caches.deployments.get(key) is not None:
            self.caches.deployments.observe_deleted(manifest(key, None, self.version))
        return self.caches.names.note(key, self.caches.deployments.get(key))

    def lost(self) -> dict[Key, dict[str, str]]:
        """For each ModelDeployment the names that it loses, and to whom."""
        found = {}
        for key in self.caches.deployments.keys():  # noqa: SIM118
            deployment = self.caches.deployments.get(key)
            assert deployment is not None
            assert not isinstance(deployment, Misfit)
            rivals = self.caches.names.rivals(deployment)
            lost = contests(deployment.spec.served_names, claim_of(deployment), rivals)
            found[key] = {name: other.full_name for name, other in lost}
        return found


def manifest(key: Key, wanted: dict[str, Any] | None, version: int) -> dict[str, Any]:
    wanted = wanted or {"minute": 0, "names": [], "clients": [], "routed": False}
    return {
        "metadata": {
            "namespace": key.namespace,
            "name": key.name,
            "uid": str(key),
            "generation": version,
            "resourceVersion": str(version),
            "creationTimestamp": f"2026-11-29T10:0{wanted['minute']}:00Z",
        },
        "spec": spec(servedNames=wanted["names"], access={"clients": wanted["clients"]}),
        "status": routed()["status"] if wanted["routed"] else {},
    }


def gateway(world: dict[Key, dict[str, Any]], namespace: str, client: str) -> Directory:
    """A gateway's directory where this is the only client."""
    known, directory = Inventory(), Directory()
    known.set_client(("insource-system", client), read_client(secret(client, "sk-1", namespace)))
    for key, wanted in world.items():
        known.set_routing(DeploymentKey(*key), read_routing(manifest(key, wanted, 1)))
    for each in known.deployments():
        view = known.view(each)
        assert view is not None
        directory.put(view)
    directory.set_keys(known.client_keys()[0])
    return directory


def passed_over(world: dict[Key, dict[str, Any]]) -> set[tuple[Key, str]]:
    """Those that a client may call by a name, and does not get, though the one that it gets is no nearer."""
    found = set()
    for namespace, client in CLIENTS:
        directory = gateway(world, namespace, client)
        for name in NAMES:
            answers = directory.resolve(client, name)
            claimants = [view for view in directory._answering(name) if client in view.clients]
            assert (answers is None) == (not claimants)
            for view in claimants:
                if answers is None or answers is view or str(view.key) == name:
                    continue
                nearer = answers.key.namespace == namespace != view.key.namespace
                if str(answers.key) == name or not nearer:
                    found.add((Key(view.key.namespace, view.key.name), name))
    return found


@given(st.dictionaries(st.sampled_from(KEYS).map(lambda key: Key(*key)), objects, min_size=2))
@settings(deadline=None, max_examples=30)
def test_who_loses_a_name_is_who_the_gateway_passes_over(world: dict[Key, dict[str, Any]]) -> None:
    operator = Operator()
    for key, wanted in world.items():
        operator.change(key, wanted)
    lost = {(key, name): other for key, names in operator.lost().items() for name, other in names.items()}
    assert passed_over(world) <= lost.keys()
    for (key, name), other in lost.items():
        winner = Key(*other.split("/"))
        two = {key: {**world[key], "routed": True}, winner: world[winner]}
        assert (key, name) in passed_over(two), "told for nothing"


@given(changes)
@settings(deadline=None, max_examples=100)
def test_whoever_wins_or_loses_a_name_is_looked_at_again(
    history: list[tuple[tuple[str, str], dict[str, Any] | None]],
) -> None:
    operator = Operator()
    for place, wanted in history:
        before = operator.lost()
        touched = operator.change(Key(*place), wanted)
        after = operator.lost()
        moved = {key for key in before.keys() & after.keys() if before[key] != after[key]}
        assert moved - {Key(*place)} <= touched


def test_many_that_claim_one_name_for_themselves_cost_nothing() -> None:
    operator = Operator()
    mine = {"minute": 0, "names": ["whisper-1"], "clients": [], "routed": True}
    for number in range(500):
        assert operator.change(Key(f"team-{number}", "dictation"), mine) == set()
    assert operator.change(Key("team-7", "dictation"), {**mine, "names": []}) == set()
    assert operator.change(Key("team-8", "second"), {**mine, "minute": 1}) == {Key("team-8", "dictation")}


def test_what_does_not_fit_keeps_its_names() -> None:
    operator = Operator()
    mine = {"minute": 0, "names": ["whisper-1"], "clients": [], "routed": True}
    operator.change(Key("voice", "a"), mine)
    operator.change(Key("voice", "b"), {**mine, "minute": 1})
    broken = manifest(Key("voice", "a"), mine, 10)
    broken["spec"]["backends"] = []
    operator.caches.deployments.observe(broken)
    assert operator.caches.names.note(Key("voice", "a"), operator.caches.deployments.get(Key("voice", "a"))) == set()
    second = operator.caches.deployments.get(Key("voice", "b"))
    assert second is not None
    assert not isinstance(second, Misfit)
    assert [each.full_name for each in operator.caches.names.rivals(second)["whisper-1"]] == ["voice/a"]
