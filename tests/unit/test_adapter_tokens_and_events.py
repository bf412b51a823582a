"""Our estimate of tokens, and server-sent events in any pieces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insource.adapter.json_body import parse_object
from insource.adapter.metering.tokens import tokens_of_bytes, tokens_of_input, tokens_of_messages
from insource.adapter.refusals import Refusal
from insource.adapter.sse import objects


@pytest.mark.parametrize(
    ("given_input", "tokens"),
    [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("日本", 2), (["abcd", "e"], 2), ([1, 2, 3], 3), ([[1, 2], [3]], 3)],
)
def test_four_bytes_are_a_token_and_tokens_are_themselves(given_input: Any, tokens: int) -> None:
    assert tokens_of_input(given_input) == tokens


def test_a_conversation_has_marks_beside_its_text() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},  # 9 bytes
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},  # 2
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
        },
    ]
    assert tokens_of_messages(messages) == 3 * 4 + tokens_of_bytes(9 + 2 + 3)


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=10), max_size=3), max_size=6), st.data())
def test_events_are_the_same_in_any_pieces(sent: list[dict[str, str]], data: st.DataObject) -> None:
    end = data.draw(st.sampled_from(["\n\n", "\r\n\r\n"]))
    comments = data.draw(st.sampled_from(["", f": ping{end}", "event: x\nid: 1\n"]))
    body = "".join(f"{comments}data: {json.dumps(event)}{end}" for event in sent).encode() + b"data: [DONE]\n\n"

    async def pieces() -> AsyncIterator[bytes]:
        at = 0
        while at < len(body):
            size = data.draw(st.integers(1, 30))
            yield body[at : at + size]
            at += size

    async def read() -> list[dict[str, Any] | None]:
        return [event async for event in objects(pieces())]

    assert asyncio.run(read()) == [*sent, None]


TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4), st.booleans())
def test_every_good_object_is_read_as_it_is(value: Any, ascii_only: bool) -> None:
    assert parse_object(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=60))
def test_other_bytes_are_refused(body: bytes) -> None:
    found: Any = None
    refused = None
    try:
        found = parse_object(body)
    except Refusal as refusal:
        refused = refusal
    assert found == json.loads(body) if refused is None else refused.status == 400


def test_a_bomb_of_brackets_is_not_built() -> None:
    with pytest.raises(Refusal) as refused:
        parse_object(b'{"input": [' + b"[]," * 300_000 + b"[]]}")
    assert refused.value.code == "invalid_json"
