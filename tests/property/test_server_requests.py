"""Any JSON at all as a request to the text and embedding servers: read, or refused in OpenAI's shape; nothing else."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insource.servers.embedding import embedding_request
from insource.servers.json_body import parse_json
from insource.servers.requests import RefusedRequestError
from insource.servers.text_requests import MOST_CHOICES, chat_request, completion_request

CONTEXT = 64
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    *(
        "prompt",
        "messages",
        "input",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "n",
        "seed",
        "stop",
    ),
    *("stream", "stream_options", "user", "echo", "logprobs", "suffix", "best_of", "logit_bias", "presence_penalty"),
    *("tools", "response_format", "dimensions", "encoding_format"),
)
NEAR = st.sampled_from(
    [0, 1, 2, -1, 64, 65, 128, 129, 0.0, 1.0, 2.0, 2.0000001, True, False, "", "a", [], {}, ["a"], [""]]
)
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "tool"]), "content": TEXT | ANY})
REQUEST = st.fixed_dictionaries(
    {"model": st.just("m") | ANY},
    optional={name: NEAR | ANY for name in NAMES if name != "messages"}
    | {"messages": st.lists(MESSAGE, max_size=3) | ANY},
)


@pytest.mark.parametrize("read", [completion_request, chat_request, embedding_request])
@given(asked=REQUEST)
def test_is_read_or_refused(read: Any, asked: dict[str, Any]) -> None:
    try:
        made = read(parse_json(orjson.dumps(asked)), "m", CONTEXT)
    except RefusedRequestError as refused:
        error = refused.body["error"]
        assert refused.status in (400, 404)  # noqa: PT017
        assert error["message"]
        assert len(error["message"]) < 600
        assert error["type"] == "invalid_request_error"
        return
    assert made.model == "m"
    if read is embedding_request:
        assert all(made.texts)
        return
    assert 1 <= made.choices <= MOST_CHOICES
    assert 0 <= made.sampling.temperature <= 2
    assert 0 <= made.sampling.top_p <= 1
    assert made.sampling.max_tokens is None or 1 <= made.sampling.max_tokens <= CONTEXT
    assert all(made.sampling.stop)


@given(body=st.binary(max_size=60) | ANY.map(orjson.dumps))
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    try:
        parse_json(body)
    except RefusedRequestError as refused:
        assert refused.status == 400  # noqa: PT017
