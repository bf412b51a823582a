"""The scanner counts what a JSON parser would find, in any pieces, and holds none of the pictures."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from insource.adapter.metering.pictures import HEAD_BYTES, PictureScanner, size_of, size_told


def picture(kind: str = "PNG", size: tuple[int, int] = (40, 30), **options: Any) -> str:
    held = io.BytesIO()
    Image.new("RGB", size, "red").save(held, kind, **options)
    return base64.b64encode(held.getvalue()).decode()


def scanned(body: bytes, sizes: list[int] | None = None) -> PictureScanner:
    scanner = PictureScanner()
    at = 0
    for size in sizes or [len(body)]:
        scanner.feed(body[at : at + size])
        at += size
    scanner.feed(body[at:])
    return scanner


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(["b64_json", 'a"}],{', "\\"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "b64_json", "url", "usage", "x", 'q"']), inner, max_size=3)
    ),
    max_leaves=6,
)
ITEMS = st.dictionaries(st.sampled_from(["b64_json", "url", "revised_prompt", "x"]), VALUES, max_size=3)
ANSWERS = st.fixed_dictionaries(
    {}, optional={"created": st.integers(), "data": st.lists(ITEMS, max_size=4), "usage": VALUES, "x": VALUES}
)


@given(ANSWERS, st.lists(st.integers(1, 40), max_size=12), st.booleans())
def test_it_finds_what_a_parser_finds(answer: dict[str, Any], sizes: list[int], spaced: bool) -> None:
    body = json.dumps(answer, indent=1 if spaced else None, ensure_ascii=spaced).encode()
    scanner = scanned(body, sizes)
    assert (scanner.complete, scanner.failed) == (True, False)
    texts = [
        (name, value)
        for item in answer.get("data", [])
        for name, value in item.items()
        if name in ("b64_json", "url") and isinstance(value, str)
    ]
    assert scanner.pictures == len(texts)
    assert scanner.urls == sum(name == "url" for name, _ in texts)
    usage = answer.get("usage")
    assert scanner.usage == (usage if isinstance(usage, dict) else {})


@given(ANSWERS, st.data())
def test_what_is_cut_is_never_whole(answer: dict[str, Any], data: st.DataObject) -> None:
    body = json.dumps(answer).encode()
    scanner = scanned(body[: data.draw(st.integers(0, len(body) - 1))])
    assert not scanner.complete


@given(st.binary(max_size=200), st.lists(st.integers(1, 20), max_size=12))
def test_no_bytes_make_it_fail_otherwise_than_by_saying_so(body: bytes, sizes: list[int]) -> None:
    scanner = scanned(body, sizes)
    try:
        whole = isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        whole = False
    assert not whole or scanner.complete


@pytest.mark.parametrize(
    "body", [b"[]", b'"x"', b"12", b"{} {}", b"{}]", b'{"a":]', b"<html>", b"{" * 40, b"x{}", b"{}x"]
)
def test_what_is_no_object(body: bytes) -> None:
    assert scanned(body).failed


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("WEBP", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"})],
)
@pytest.mark.parametrize("size", [(1, 1), (40, 30), (1000, 700)])
def test_a_pictures_header_says_its_size(kind: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    assert size_of(picture(kind, size, **options)[:44].encode()) == size


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"exif": b"Exif\0\0" + bytes(65_000)},
        {"icc_profile": bytes(20_000)},
        {"comment": "x"},
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (40, 30), (1000, 700)])
def test_a_jpegs_segments_tell_its_size(options: dict[str, Any], size: tuple[int, int]) -> None:
    data = base64.b64decode(picture("JPEG", size, **options))
    assert size_told(data[:HEAD_BYTES]) == size
    assert size_told(data[:2] + b"\xff" + data[2:HEAD_BYTES]) == size, "a marker may be filled"


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 "]))
def test_no_bytes_are_too_strange(data: bytes, mark: bytes) -> None:
    size = size_told(mark + data)
    assert size is None or min(size) > 0


def test_pixels_are_those_of_the_pictures_and_else_of_the_request() -> None:
    items = [{"b64_json": picture(size=(40, 30))}, {"b64_json": picture("JPEG")}, {"url": "https://example.com/a"}]
    scanner = scanned(json.dumps({"data": items}).encode())
    assert scanner.pixels((10, 10)) == 1200 + 100 + 100


def test_a_large_picture_is_not_kept() -> None:
    scanner = PictureScanner()
    scanner.feed(b'{"data":[{"b64_json":"')
    for _ in range(1000):
        scanner.feed(b"A" * 65_536)
    scanner.feed(b'"}],"usage":{"x":"' + b"y" * 10**6 + b'"}}')
    assert scanner.complete
    assert scanner.usage == {}
    held = (scanner._string, scanner._usage or b"", *scanner._heads)
    assert sum(len(each) for each in held) < 20_000
