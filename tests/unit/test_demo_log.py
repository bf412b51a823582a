"""The demo reads Envoy's log itself: each attempt of a request once, whichever line tells it."""

from __future__ import annotations

import json

from insource.cli.demo.failover import attempts_in
from insource.gateway.render.logs import ATTEMPT, REQUEST


def line(kind: str, request: str, number: int, role: str, word: str) -> bytes:
    row = [
        request,
        "",
        str(number),
        "voice/dictation",
        "inhouse",
        "r1",
        role,
        "inHouse",
        "",
        200,
        "-",
        word,
        "1",
        5,
        "b",
    ]
    return json.dumps({kind: row}).encode() + b"\n"


def test_an_ordinary_request_is_told_by_its_own_line() -> None:
    log = line(REQUEST, "one", 1, "serve", "ok") + line(REQUEST, "two", 1, "serve", "ok")
    assert [(each.attempt_id, each.role, each.outcome) for each in attempts_in(log, "two")] == [
        ("two.0.1", "serve", "ok")
    ]


def test_retried_attempts_have_lines_and_the_last_is_told_twice() -> None:
    log = (
        line(ATTEMPT, "one", 1, "serve", "server")
        + line(ATTEMPT, "one", 2, "rescue", "ok")
        + line(REQUEST, "one", 2, "rescue", "ok")
        + line(REQUEST, "one", 3, "spill", "ok")[:-20]  # not whole yet
    )
    assert [(each.attempt_id, each.outcome) for each in attempts_in(log, "one")] == [
        ("one.0.1", "server"),
        ("one.0.2", "ok"),
    ]
