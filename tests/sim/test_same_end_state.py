"""Whatever happens on the way, the end is the same: 100 seeds of crashes, lagging caches, lost events, refused writes.

A failure names its seed: `World(seed, ...)` repeats it exactly.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import pytest

from insource.api.catalogue import builtin_objects
from tests.sim.edits import history
from tests.sim.world import World

SEEDS = 100
BUILTINS = builtin_objects()
PER_TEST = 10


@cache
def _undisturbed() -> dict[str, Any]:
    """The end state when every edit is followed by nothing but quiet."""

    async def run() -> dict[str, Any]:
        world = World(0, builtins=BUILTINS)
        await world.operator.start()
        for edit in history():
            edit(world)
            await world.settle()
        assert world.orphans() == []
        return world.picture()

    with asyncio.Runner() as runner:
        return runner.run(run())


async def _disturbed(seed: int) -> World:
    world = World(seed, crash=0.06, refuse=0.08, lose_answer=0.04, lossy=True, builtins=BUILTINS)
    await world.run(history())
    await world.settle()
    return world


def _differences(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    return [
        f"{name}: {one.get(name)} != {two.get(name)}"
        for name in sorted(one.keys() | two.keys())
        if one.get(name) != two.get(name)
    ]


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return _undisturbed()


@pytest.mark.parametrize("first", range(0, SEEDS, PER_TEST))
async def test_faults_do_not_change_the_end_state(expected: dict[str, Any], first: int) -> None:
    for seed in range(first, first + PER_TEST):
        world = await _disturbed(seed)
        assert _differences(world.picture(), expected) == [], f"seed {seed}"
        assert world.orphans() == [], f"seed {seed}"
        await world.restart()
        await world.settle()
        assert world.operator.client.writes == [], f"seed {seed}: a restart with nothing to do wrote"


async def test_the_faults_really_happen() -> None:
    """A simulation whose faults do not bite proves nothing."""
    worlds = [await _disturbed(seed) for seed in range(5)]
    assert sum(world.restarts for world in worlds) >= 5
    assert sum(world.switches for world in worlds) >= 250, "the workers' passes must mix"


async def test_a_seed_repeats_its_run() -> None:
    one, two = await _disturbed(3), await _disturbed(3)
    assert one.restarts == two.restarts
    assert one.operator.client.writes == two.operator.client.writes
    assert one.store.resource_version == two.store.resource_version


async def test_a_lost_write_shows_in_the_comparison() -> None:
    """The comparison can fail: somebody takes a Service away behind a stopped operator."""
    world = await _disturbed(1)
    name = next(name for name in world.picture() if name.startswith("Service voice/dictation"))
    before = world.picture()
    world.remove_named(name)
    assert _differences(world.picture(), before)
    await world.settle()
    assert _differences(world.picture(), before) == []
