"""`POST /v1/images/generations` as the image server reads it: every parameter at, below and above its bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insource.servers.image_request import ImageRequest, parse_image_request
from insource.servers.requests import RefusedRequestError

BASE = {"model": "flow-32", "prompt": "a red circle"}


def read(**sent: Any) -> ImageRequest:
    return parse_image_request(json.dumps({**BASE, **sent}).encode(), "flow-32")


def refused(body: bytes) -> RefusedRequestError:
    with pytest.raises(RefusedRequestError) as caught:
        parse_image_request(body, "flow-32")
    error = caught.value.body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert len(json.dumps(error)) < 1500
    return caught.value


def test_defaults() -> None:
    asked = read()
    assert asked == ImageRequest("a red circle", 1, 1024, 1024, "medium", "png", 100)
    names = ("n", "size", "quality", "output_format", "output_compression", "response_format", "background")
    assert read(**dict.fromkeys([*names, "moderation", "partial_images", "stream", "user", "seed", "style"])) == asked


@pytest.mark.parametrize(
    ("sent", "field", "value"),
    [
        ({"n": 1}, "n", 1),
        ({"n": 10}, "n", 10),
        ({"size": "auto"}, "width", 1024),
        ({"size": "32x32"}, "width", 32),
        ({"size": "256x256"}, "height", 256),
        ({"size": "1792x1024"}, "width", 1792),
        ({"size": "2048x2048"}, "height", 2048),
        ({"size": "96x32"}, "height", 32),
        ({"quality": "low"}, "steps", 8),
        ({"quality": "medium"}, "steps", 20),
        ({"quality": "auto"}, "steps", 20),
        ({"quality": "standard"}, "steps", 20),
        ({"quality": "high"}, "steps", 40),
        ({"quality": "hd"}, "steps", 40),
        ({"output_format": "png"}, "output_format", "png"),
        ({"output_format": "jpeg", "output_compression": 0}, "compression", 0),
        ({"output_format": "webp", "output_compression": 100}, "compression", 100),
        ({"output_compression": 100}, "compression", 100),
        ({"prompt": "x" * 1000}, "prompt", "x" * 1000),
        ({"prompt": ""}, "prompt", ""),
        ({"background": "opaque", "moderation": "low", "response_format": "b64_json", "stream": False}, "n", 1),
        ({"user": "u" * 512, "safety_identifier": "", "partial_images": 0}, "n", 1),
    ],
)
def test_takes(sent: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(read(**sent), field) == value


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        *(({"n": wrong}, "n") for wrong in (0, -1, 11, 10**30, 1.0, True, "1", [1], {})),
        *(
            ({"size": wrong}, "size")
            for wrong in ("", "0x0", "31x31", "33x32", "2080x2048", "1024", "1024x", "1024X1024", "٣٢x32", " 32x32")
        ),
        *(({"size": wrong}, "size") for wrong in ("128x32", "32x128", "9" * 5000 + "x32", 1024, [32, 32], "032x032")),
        *(({"quality": wrong}, "quality") for wrong in ("xhigh", "max", "", 3, "LOW", ["low"])),
        *(({"output_format": wrong}, "output_format") for wrong in ("gif", "svg", "PNG", "", 1, {"png": 1})),
        *(({"output_format": "jpeg", "output_compression": wrong}, "output_compression") for wrong in (-1, 101, "9")),
        ({"output_compression": 99}, "output_compression"),
        *(({"response_format": wrong}, "response_format") for wrong in ("url", "", 1)),
        *(({"background": wrong}, "background") for wrong in ("transparent", 0)),
        *(({"moderation": wrong}, "moderation") for wrong in ("high", True)),
        *(({"partial_images": wrong}, "partial_images") for wrong in (1, 3, False, "0")),
        *(({"stream": wrong}, "stream") for wrong in (True, "false", 0, 1)),
        *(({"user": wrong}, "user") for wrong in ("u" * 513, 7)),
        *(({"prompt": wrong}, "prompt") for wrong in (None, 7, ["a"], "x" * 1001)),
        *(({"model": wrong}, "model") for wrong in (None, "", 7, "other", "m" * 5000)),
        ({"seed": 7}, "seed"),
        ({"style": "vivid"}, "style"),
        ({"steps": 20}, "steps"),
        ({"k" * 5000: 1}, "k" * 64),
    ],
)
def test_refuses_by_name(sent: dict[str, Any], param: str) -> None:
    error = refused(json.dumps({**BASE, **sent}).encode())
    assert error.body["error"]["param"] == param
    is_missing = sent.get("model") in ("other", "m" * 5000)
    assert error.status == (404 if is_missing else 400)
    assert (error.body["error"]["code"] == "model_not_found") == is_missing


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model":"flow-32","prompt":"\\ud800"}',
        b'{"model":"flow-32","prompt":"\xff"}',
        b'{"model":"flow-32","prompt":"a circle","n":NaN}',
    ],
)
def test_refuses_what_is_no_object(body: bytes) -> None:
    error = refused(body)
    assert error.status == 400
    assert error.body["error"]["param"] is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    (
        *("model", "prompt", "n", "size", "quality", "output_format", "output_compression", "response_format"),
        *("background", "moderation", "partial_images", "stream", "user", "safety_identifier"),
    )
)
SENSIBLE = st.sampled_from(["flow-32", "32x32", "auto", "low", "webp", "jpeg", "png", "b64_json", 1, 10, 0, 100, False])


@given(st.dictionaries(NAMES | st.text(max_size=8), SENSIBLE | JSON, max_size=8))
def test_any_object_is_read_or_refused(sent: dict[str, Any]) -> None:
    try:
        asked = parse_image_request(json.dumps({**BASE, **sent}).encode(), "flow-32")
    except RefusedRequestError as error:
        assert error.status in (400, 404)  # noqa: PT017
        json.dumps(error.body).encode()
    else:
        assert 1 <= asked.n <= 10
        assert 32 <= min(asked.width, asked.height) <= max(asked.width, asked.height) <= 2048
