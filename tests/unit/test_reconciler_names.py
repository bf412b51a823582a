"""A model's name that two claim: the younger is told, and told again as soon as the name is free."""

from __future__ import annotations

from typing import Any

from insource.kube import resources
from tests.sim.edits import model_deployment, put, remove, vendor
from tests.sim.world import World


def claiming(name: str, *names: str, clients: tuple[str, ...] = ()) -> dict[str, Any]:
    obj = model_deployment(name)
    obj["spec"] |= {"servedNames": list(names), "access": {"clients": list(clients)}}
    return obj


def told(world: World, name: str) -> tuple[str, str]:
    """Status and message of NamesServed; both empty if it says nothing."""
    (obj,) = [each for each in world.objects(resources.MODEL_DEPLOYMENTS) if each["metadata"]["name"] == name]
    found = [each for each in obj["status"]["conditions"] if each["type"] == "NamesServed"]
    return (found[0]["status"], found[0]["message"]) if found else ("", "")


async def started() -> World:
    world = World(0)
    await world.operator.start()
    return world


async def make(world: World, *objs: dict[str, Any]) -> None:
    """Somebody makes or edits these, one after the other."""
    for obj in objs:
        put(obj)(world)
        await world.settle()


async def test_the_younger_is_told_and_heals_by_itself() -> None:
    world = await started()
    await make(world, vendor(), claiming("old", "whisper-1"), claiming("new", "whisper-1", "tiny"))
    assert told(world, "old")[0] == "True"
    status, message = told(world, "new")
    assert status == "False"
    assert message.startswith('"whisper-1" is answered by ModelDeployment voice/old,')
    # Somebody takes the name from the older one, gives it back, and deletes it.
    await make(world, claiming("old", "other"))
    assert told(world, "new")[0] == "True"
    await make(world, claiming("old", "whisper-1"))
    assert told(world, "new")[0] == "False"
    await make(world, claiming("old", "whisper-1", clients=("just-one",)), claiming("new", "tiny", "whisper-1"))
    assert told(world, "new")[0] == "False"
    await make(world, claiming("new", "whisper-1", clients=("another-one",)))
    assert told(world, "new")[0] == "True", "nobody may call both"
    await make(world, claiming("new", "whisper-1"))
    assert told(world, "new")[0] == "False"
    remove("old")(world)
    await world.settle()
    assert told(world, "new")[0] == "True"


async def test_one_that_is_not_routed_takes_no_name() -> None:
    world = await started()
    stalled = claiming("old", "whisper-1")
    stalled["spec"]["backends"][0]["inHouse"]["model"] = "not-there"
    await make(world, vendor(), stalled, claiming("new", "whisper-1"))
    assert told(world, "old")[0] == ""
    assert told(world, "new")[0] == "True"
    # Once it is mended, it has its name back: it is older. Nobody but our own write says that it is routed now.
    await make(world, claiming("old", "whisper-1"))
    assert told(world, "old")[0] == "True"
    assert told(world, "new")[0] == "False"


async def test_a_full_name_is_its_owners() -> None:
    world = await started()
    await make(world, vendor(), claiming("thief", "voice/dictation"))
    assert told(world, "thief")[0] == "True"
    await make(world, model_deployment("dictation"))
    assert told(world, "thief")[0] == "False"
    remove("dictation")(world)
    await world.settle()
    assert told(world, "thief")[0] == "True"


async def test_without_names_nothing_is_said() -> None:
    world = await started()
    await make(world, vendor(), model_deployment("plain"), claiming("named", "whisper-1"))
    assert told(world, "plain") == ("", "")
    await make(world, model_deployment("named"))
    assert told(world, "named") == ("", "")
