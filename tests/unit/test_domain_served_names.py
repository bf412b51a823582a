"""Who answers to a model's name, and who is told that another does."""

from __future__ import annotations

from typing import Any

import pytest

from insource.api import conditions as c
from insource.domain.served_names import ANY, Claim, admissions_of, contests, precedence
from tests.unit.domain_world import World, spec

NAME = "whisper-1"


def claim(full_name: str, minute: int, *clients: str) -> Claim:
    namespace, _, name = full_name.partition("/")
    return Claim(namespace, name, f"2026-11-29T10:{minute:02}:00Z", admissions_of(namespace, clients))


def loser_to(mine: Claim, *others: Claim, name: str = NAME) -> str:
    """Full name of whom `mine` loses the name to, or empty."""
    found = contests([name], mine, {name: others})
    return found[0][1].full_name if found else ""


def test_what_access_lists() -> None:
    assert admissions_of("voice", ()) == (("voice", ANY),)
    assert admissions_of("voice", ("app", "mail/app", "*")) == ((ANY, ANY), ("mail", "app"), ("voice", "app"))


@pytest.mark.parametrize(
    ("mine", "other", "loses"),
    [
        # One namespace.
        (claim("voice/b", 2), claim("voice/a", 1), True),
        (claim("voice/a", 1), claim("voice/b", 2), False),  # the older one keeps it
        (claim("voice/b", 1), claim("voice/a", 1), True),  # of one second: by name
        (claim("voice/b", 2, "x"), claim("voice/a", 1, "y"), False),  # no client may call both
        (claim("voice/b", 2, "x"), claim("voice/a", 1, "x", "y"), True),
        (claim("voice/b", 2, "*"), claim("voice/a", 1, "y"), True),
        (claim("voice/b", 2, "mail/x"), claim("voice/a", 1, "mail/x"), True),
        # Two namespaces: everybody's own comes first.
        (claim("voice/b", 2), claim("mail/a", 1), False),
        (claim("voice/b", 2), claim("mail/a", 1, "*"), False),
        (claim("voice/b", 2, "*"), claim("mail/a", 1), False),
        (claim("voice/b", 2, "mail/x"), claim("mail/a", 1), False),
        # Clients of a third one may call both.
        (claim("voice/b", 2, "*"), claim("mail/a", 1, "*"), True),
        (claim("voice/a", 1, "*"), claim("mail/b", 2, "*"), False),
        (claim("voice/b", 2, "team/x"), claim("mail/a", 1, "*"), True),
        (claim("voice/b", 2, "team/x"), claim("mail/a", 1, "team/x"), True),
        (claim("voice/b", 2, "team/x"), claim("mail/a", 1, "team/y"), False),
        (claim("voice/b", 2, "mail/x"), claim("mail/a", 1, "*"), False),
    ],
)
def test_a_name_is_lost_only_where_one_client_may_call_both_and_neither_is_nearer(
    mine: Claim, other: Claim, *, loses: bool
) -> None:
    assert loser_to(mine, other) == (other.full_name if loses else "")


def test_a_full_name_is_nobody_elses() -> None:
    young = claim("voice/dictation", 9)
    old = claim("voice/other", 1)
    assert loser_to(old, young, name="voice/dictation") == "voice/dictation"
    assert loser_to(claim("mail/other", 1, "*"), young, name="voice/dictation") == "voice/dictation"
    assert loser_to(claim("mail/other", 1), young, name="voice/dictation") == ""  # its clients cannot call that one
    own = {"mail"}
    assert precedence(young, "voice/dictation", own) < precedence(claim("mail/x", 1), "voice/dictation", own)


def test_of_several_the_first_is_named() -> None:
    rivals = [claim("voice/c", 3), claim("voice/a", 1), claim("voice/b", 2)]
    assert loser_to(claim("voice/d", 4), *rivals) == "voice/a"


def named(**changes: Any) -> World:
    world = World(spec(servedNames=[NAME, "tiny"], **changes))
    world.object["metadata"]["creationTimestamp"] = "2026-11-29T10:05:00Z"
    return world


def test_without_names_nothing_is_said_of_them() -> None:
    assert World().serve().says(c.NAMES_SERVED) == "-"


def test_names_that_nobody_contests() -> None:
    world = named().serve()
    assert world.condition(c.NAMES_SERVED) | {"lastTransitionTime": ""} == {
        "type": "NamesServed",
        "status": "True",
        "reason": "Served",
        "message": 'on plain /v1, clients may send "whisper-1", "tiny" as model',
        "observedGeneration": 1,
        "lastTransitionTime": "",
    }
    assert world.is_ready()


def test_a_name_that_an_older_one_answers_is_told_and_it_serves_by_its_full_name() -> None:
    world = named()
    world.rivals = {NAME: (claim("voice/old", 1),), "tiny": (claim("voice/young", 9),)}
    world.serve()
    told = world.condition(c.NAMES_SERVED)
    assert (told["status"], told["reason"]) == ("False", "NameTaken")
    assert told["message"] == (
        '"whisper-1" is answered by ModelDeployment voice/old, to which clients of both are sent; choose another name, '
        'or have clients send "voice/dictation" as model'
    )
    assert world.is_ready(), "its own path serves"
    assert "Warning NameTaken" in world.events
    world.rivals = {}
    world.settle()
    assert world.says(c.NAMES_SERVED) == "True"


def test_a_path_of_plain_v1_is_nobodys() -> None:
    world = named()
    world.object["metadata"] |= {"namespace": "v1", "name": "audio"}
    world.step()
    assert world.condition(c.STALLED)["reason"] == "PathTaken"
    assert "/v1/audio/" in world.condition(c.STALLED)["message"]
    world.object["metadata"]["name"] = "dictation"
    world.vendors["openai"]["metadata"]["namespace"] = "v1"
    world.step()
    assert world.says(c.STALLED) == "-"
