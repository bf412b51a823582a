"""What holds for every history: weights, names, idempotence, restarts."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from insource.api.model_deployment import ModelDeploymentStatus
from insource.domain.drift import covers
from insource.domain.names import digest, revision_hash, vendor_adapter_name, workload_name
from insource.domain.pricing import PriceEntry, charge_nano, divided_half_even
from insource.domain.snapshot import VendorAdapter
from tests.unit.domain_world import World, spec

label = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=63).map(
    lambda text: "a" + text.strip("-")[:62]
)

edits = st.fixed_dictionaries(
    {
        "primary": st.sampled_from(["inhouse", "openai"]),
        "slots": st.integers(1, 3),
        "replicas": st.integers(0, 3),
        "model": st.sampled_from(["whisper-tiny-en", "whisper-tiny-en", "missing"]),
        "timeout": st.sampled_from(["1m", "10m"]),
    }
)
actions = st.one_of(
    st.tuples(st.just("edit"), edits),
    st.tuples(st.just("ready"), st.integers(0, 3)),
    st.tuples(st.just("gateways"), st.sampled_from(["apply", "lost", "none"])),
    st.tuples(st.just("adapter"), st.sampled_from([True, False, None])),
    st.tuples(st.just("delete child"), st.integers(0, 20)),
    st.tuples(st.just("operator"), st.just(None)),
)


def edited(choice: dict[str, Any]) -> dict[str, Any]:
    traffic: dict[str, Any] = {"primary": choice["primary"], "requestTimeout": choice["timeout"]}
    if choice["primary"] == "inhouse":
        traffic["spill"] = {"backend": "openai"}
    wanted = spec(traffic=traffic, replicas=choice["replicas"])
    wanted["backends"][0]["inHouse"] |= {"slots": choice["slots"], "model": choice["model"]}
    return wanted


def act(world: World, action: tuple[str, Any]) -> None:
    match action:
        case "edit", choice:
            world.edit(edited(choice))
        case "ready", count:
            world.ready(count)
        case "gateways", "apply" if "traffic" in world.status:
            world.gateways_apply(2)
        case "gateways", "lost":
            world.gateways = (-1, -1)
        case "gateways", "none":
            world.gateways = ()
        case "adapter", resolved:
            world.adapters = {"openai": VendorAdapter(1 if resolved else 0, resolved)}
        case "delete child", index if world.live:
            del world.live[sorted(world.live)[index % len(world.live)]]
        case "operator", _:
            world.step()


def check(world: World) -> None:
    if not world.status:
        return
    ModelDeploymentStatus.model_validate(world.status)
    types = [item["type"] for item in world.status["conditions"]]
    assert len(types) == len(set(types))
    if world.is_ready():
        assert "Reconciling" not in types
        assert "Stalled" not in types
    assert not {"Reconciling", "Stalled"} <= set(types)
    assert world.status["observedGeneration"] <= world.object["metadata"]["generation"]
    traffic = world.status.get("traffic")
    if traffic:
        assert sum(weight["weight"] for weight in traffic["weights"]) == 100


@settings(max_examples=30, deadline=None)
@given(st.lists(actions, max_size=15))
def test_any_history_keeps_the_invariants_and_reaches_a_fixed_point(history: list[tuple[str, Any]]) -> None:
    world = World()
    version = 0
    for action in history:
        act(world, action)
        before = world.status.get("traffic")
        world.step()
        check(world)
        traffic = world.status.get("traffic")
        if traffic:
            assert traffic["version"] >= version
            same = before is not None and {**before, "version": 0} == {**traffic, "version": 0}
            assert same == (before is not None and before["version"] == traffic["version"])
            version = traffic["version"]
    world.edit(spec())
    world.settle()
    backend, revision, _ = world.weights[0]
    if revision:
        held = [name for name in world.names("ReplicaSet") if name.endswith(revision)]
        assert held, "never weight on a backend that does not exist"
    assert world.plan().empty, "a restart writes nothing"
    world.adapters = {"openai": VendorAdapter(1, True)}
    world.gateways_apply()
    world.ready(100)
    world.settle()
    world.gateways_apply()
    world.settle()
    assert world.is_ready()
    assert backend in ("inhouse", "openai")
    assert len(world.names("ReplicaSet")) == len(world.names("Service")) == 1, "nothing is left over"


@given(label, label, label)
def test_names_are_labels_and_tell_workloads_apart(mdep: str, backend: str, class_: str) -> None:
    one = workload_name(mdep, backend, class_, revision_hash("ns", mdep, backend, {"class": class_}))
    assert len(one) <= 63
    assert set(one) <= set(string.ascii_lowercase + string.digits + "-")
    assert one[0].isalpha()
    assert one[-1] != "-"
    for moved in ((mdep + "x", backend, class_), (mdep, backend + "x", class_), (mdep, backend, class_ + "x")):
        other = workload_name(*moved, revision_hash("ns", *moved[:2], {"class": moved[2]}))
        assert other != one
    assert len(vendor_adapter_name(mdep)) <= 63


@given(label, label)
def test_adapters_of_different_vendors_have_different_names(one: str, other: str) -> None:
    assert (vendor_adapter_name(one) == vendor_adapter_name(other)) == (one == other)


@given(st.dictionaries(st.text(max_size=5), st.integers(-9, 9)))
def test_digests_ignore_the_order_of_keys(content: dict[str, int]) -> None:
    assert digest(content) == digest(dict(reversed(content.items())))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(json_values, st.dictionaries(st.text(min_size=4, max_size=5), json_values, max_size=3))
def test_everything_covers_itself_and_more(value: Any, extra: dict[str, Any]) -> None:
    assert covers({"v": value}, {"v": value, **extra})


@given(st.integers(0, 10**15), st.integers(1, 10**10))
def test_rounding_is_never_off_by_more_than_a_half(numerator: int, denominator: int) -> None:
    assert abs(2 * (divided_half_even(numerator, denominator) * denominator - numerator)) <= denominator


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**6), st.integers(1, 10**5))
def test_more_work_never_costs_less(one: int, other: int, minimum: int, increment: int) -> None:
    entry = PriceEntry("id", "v", "m", "u", 360_000_000, 3_600_000, 0, minimum, increment)
    less, more = sorted((one, other))
    assert charge_nano(entry, less) <= charge_nano(entry, more)
