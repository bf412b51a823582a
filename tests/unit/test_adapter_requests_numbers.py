"""Numbers in the free parts of a request: what is taken can be sent on as it is."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insource.adapter.json_body import parse_object
from insource.adapter.refusals import Refusal
from insource.adapter.requests import ChatCompletion

NUMBERS = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    NUMBERS | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=6,
)


def asked(schema: bytes) -> ChatCompletion:
    tool = b'{"type": "function", "function": {"name": "f", "parameters": %s}}' % schema
    return ChatCompletion.of(
        parse_object(b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": [%s]}' % tool)
    )


@pytest.mark.parametrize("number", ["-9223372036854775808", "18446744073709551615", "1e308", "-0.5"])
def test_numbers_of_64_bits_are_taken(number: str) -> None:
    sent = asked(b'{"maximum": %s}' % number.encode()).sent_as("m")
    assert orjson.loads(orjson.dumps(sent))["tools"][0]["function"]["parameters"] == {"maximum": json.loads(number)}


@pytest.mark.parametrize(
    "number", ["18446744073709551616", "-9223372036854775809", "1" + "0" * 4000, "1e999", "-1e999"]
)
def test_a_number_beyond_is_refused_by_name_and_not_changed(number: str) -> None:
    with pytest.raises(Refusal) as refused:
        asked(b'{"maximum": [{"deep": %s}]}' % number.encode())
    assert (refused.value.status, refused.value.param, refused.value.code) == (400, "tools", "invalid_value")
    assert refused.value.message == "Invalid value for 'tools': it holds a number beyond 64 bits."


@given(st.dictionaries(st.sampled_from(["a", "b"]), VALUES, max_size=3))
def test_what_is_taken_can_be_sent_on(schema: dict[str, Any]) -> None:
    try:
        wanted = asked(json.dumps(schema).encode())
    except Refusal:
        return
    assert orjson.loads(orjson.dumps(wanted.sent_as("m")))["tools"][0]["function"]["parameters"] == schema
