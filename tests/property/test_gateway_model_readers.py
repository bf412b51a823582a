"""The model of a body, read piece by piece, is what a parser of the whole body finds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from insource.gateway.form_model import LONGEST_HEAD, MOST_PARTS, FormModel
from insource.gateway.json_model import MOST_MARKS, JsonModel
from insource.gateway.peeking import LONGEST_MODEL, BadBodyError, ModelReader

BOUNDARY = "b0und'ary"
MARK = f"--{BOUNDARY}".encode()


def pieces(body: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    for start, end in pairwise(places):
        yield body[start:end]


def read(reader: ModelReader, body: bytes, cuts: list[int] | None = None) -> str:
    """The model, or the code of the refusal."""
    try:
        for piece in pieces(body, cuts if cuts is not None else []):
            reader.feed(piece)
        return reader.model()
    except BadBodyError as error:
        return f"! {error.code}"


def one_by_one(body: bytes) -> list[int]:
    return list(range(len(body)))


CUTS = st.lists(st.integers(0, 1 << 16), max_size=20)
NAMES = st.one_of(st.text(min_size=1, max_size=40), st.sampled_from(["whisper-1", "a/b", '"', "\\", "\u2028", "\0"]))

# JSON

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.just("model"), inner),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=8), VALUES, max_size=6)


@st.composite
def documents(draw: st.DrawFn) -> tuple[bytes, Any]:
    """An object with `model` somewhere in it, or without, as JSON in one of its many spellings."""
    items = [item for item in draw(OBJECTS).items() if item[0] != "model"]
    if draw(st.booleans()):
        items.insert(draw(st.integers(0, len(items))), ("model", draw(NAMES | VALUES)))
    document = dict(items)
    text = json.dumps(document, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 2])))
    if draw(st.booleans()):
        text = text.replace('"model"', '"\\u006dodel"')
    space = draw(st.sampled_from(["", " ", "\r\n\t"]))
    return (space + text + space).encode("utf-8", "surrogatepass"), document


def expected_of(document: Any) -> str:
    if "model" not in document or document["model"] == "":
        return "! missing_required_parameter"
    if not isinstance(document["model"], str):
        return "! invalid_type"
    return str(document["model"])


@given(documents(), CUTS)
@settings(deadline=None)
def test_json_in_any_pieces(case: tuple[bytes, Any], cuts: list[int]) -> None:
    body, document = case
    assert read(JsonModel(), body, cuts) == expected_of(document)
    assert read(JsonModel(), body, one_by_one(body)) == expected_of(document)


@given(st.binary(max_size=60) | st.text('{}[]",:\\ model1', max_size=40).map(str.encode), CUTS)
@settings(deadline=None)
@example(b'{"model":"a"', [])
@example(b'{"model":"a"}}', [])
@example(b'{"model":"a"} x', [])
@example(b'[{"model":"a"}]', [])
@example(b'"model"', [])
@example(b"", [])
def test_what_is_no_json_is_the_same_in_any_pieces_and_never_breaks(body: bytes, cuts: list[int]) -> None:
    found = read(JsonModel(), body, cuts)
    assert found == read(JsonModel(), body)
    try:
        document = json.loads(body)
    except ValueError:
        return
    if not isinstance(document, dict):
        assert found == "! invalid_json"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"model":"a","model":"b"}', "duplicate_parameter"),
        (b'{"model":"a","mod\\u0065l":"a"}', "duplicate_parameter"),
        (b'{"model":["a"]}', "invalid_type"),
        (b'{"model":{"model":"a"}}', "invalid_type"),
        (b'{"model":null}', "invalid_type"),
        (b'{"x":{"model":"a"}}', "missing_required_parameter"),
        (b'{"model":"\\ud800"}', "invalid_type"),
        (b'{"model":"\xff"}', "invalid_type"),
        (b'{"model":"a\nb"}', "invalid_type"),
        (b'{"model":"' + b"a" * (LONGEST_MODEL + 1) + b'"}', "string_too_long"),
        (b'{"model":"' + b"a" * 100_000 + b'"}', "string_too_long"),
        (b'{"model":"' + b"\\u0061" * 10_000, "string_too_long"),
        (b'{"x":"' + b"y" * 10_000, "invalid_json"),
        (b"[" * 10_000, "invalid_json"),
    ],
)
def test_json_that_is_refused(body: bytes, code: str) -> None:
    assert read(JsonModel(), body) == f"! {code}"
    assert read(JsonModel(), body, one_by_one(body)[:3000]) == f"! {code}"


@pytest.mark.parametrize("bomb", [b'{"a":' * MOST_MARKS, b"[" * 1_000_000, b"[]," * 300_000, b'"a":"",' * 200_000])
def test_a_bomb_of_braces_is_given_up(bomb: bytes) -> None:
    for body in (b"{" + bomb, b'{"model":"m","x":' + bomb):
        reader = JsonModel()
        assert read(reader, body, list(range(0, len(body), 65536))) == "! invalid_json"
        assert reader._marks <= MOST_MARKS + 1


def test_much_text_is_no_bomb() -> None:
    many = json.dumps({"x": [["", "a\\", 1, None] * 50_000], "model": "m", "y": '"]}' * 100_000}).encode()
    assert read(JsonModel(), many, list(range(0, len(many), 65521))) == "m"


@pytest.mark.parametrize("length", [1, LONGEST_MODEL])
def test_the_longest_name_with_every_character_escaped(length: int) -> None:
    body = b'{"model":"' + b"\\u0061" * length + b'"}'
    assert read(JsonModel(), body, one_by_one(body)) == "a" * length


# Forms


def part(name: str, content: bytes, filename: str | None = None, more: str = "") -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    return f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{more}\r\n'.encode() + content


def form(*parts: bytes) -> bytes:
    return b"".join(parts)[2:] + b"\r\n" + MARK + b"--\r\n"


FIELD_NAMES = st.sampled_from(["model", "model", "file", "prompt", "Model", "model ", "timestamp_granularities[]"])
CONTENTS = st.one_of(
    st.binary(max_size=80),
    NAMES.map(lambda name: name.encode("utf-8", "ignore")),
    st.sampled_from([b"\r\n", b"\r\n-", MARK[:-1], b"\r\n" + MARK[:-1], b"--", b'name="model"\r\n\r\nx']),
).filter(lambda content: MARK not in content)
PARTS = st.builds(
    part,
    FIELD_NAMES,
    CONTENTS,
    st.none() | st.just("a.wav") | st.just(""),
    st.sampled_from(["", "Content-Type: audio/wav\r\n", "X-Long: " + "y" * 500 + "\r\n"]),
)


def reference(body: bytes) -> list[bytes]:
    """The contents of all parts named `model`, by werkzeug."""
    decoder = MultipartDecoder(BOUNDARY.encode(), max_parts=1000)
    decoder.receive_data(body)
    decoder.receive_data(None)
    found: list[bytes] = []
    wanted = False
    while not isinstance(event := decoder.next_event(), (Epilogue, NeedData)):
        if isinstance(event, (Field, File)):
            wanted = event.name == "model"
            if wanted:
                found.append(b"")
        elif isinstance(event, Data) and wanted:
            found[-1] += event.data
    return found


@given(st.lists(PARTS, min_size=1, max_size=6).flatmap(st.permutations), CUTS, st.sampled_from([b"", b"preamble\r\n"]))
@settings(deadline=None)
def test_forms_in_any_order_and_any_pieces(parts: list[bytes], cuts: list[int], preamble: bytes) -> None:
    body = preamble + form(*parts)
    models = reference(body)
    found = read(FormModel(BOUNDARY), body, cuts)
    assert found == read(FormModel(BOUNDARY), body, one_by_one(body))
    if len(models) == 1 and _is_name(models[0]):
        assert found == models[0].decode()
    elif len(models) == 0:
        assert found == "! missing_required_parameter"
    else:
        assert found.startswith("! ")


def _is_name(content: bytes) -> bool:
    try:
        return 0 < len(content.decode()) <= LONGEST_MODEL
    except UnicodeDecodeError:
        return False


@given(st.lists(st.sampled_from([b"\r\n", MARK, b"--", b" ", b"-", b"\r", b"\n", b":", b"x"]), max_size=12), CUTS)
@settings(deadline=None)
def test_what_is_no_form_is_the_same_in_any_pieces_and_never_breaks(tokens: list[bytes], cuts: list[int]) -> None:
    body = b"".join(tokens)
    assert read(FormModel(BOUNDARY), body, cuts) == read(FormModel(BOUNDARY), body)


MODEL = part("model", b"whisper-1")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_multipart"),
        (b"{}", "invalid_multipart"),
        (form(MODEL)[:-6], "invalid_multipart"),
        (form(MODEL, part("file", b"x"))[:-20], "invalid_multipart"),
        (form(MODEL).replace(b"\r\n", b"\n"), "invalid_multipart"),
        (form(MODEL, MODEL), "duplicate_parameter"),
        (form(part("model", b"")), "missing_required_parameter"),
        (form(part("model", b"\xff")), "invalid_type"),
        (form(part("model", b"d2hpc3Blci0x", more="Content-Transfer-Encoding: base64\r\n")), "invalid_type"),
        (form(part("model", b"x" * 10_000)), "string_too_long"),
        (form(part("file", b"", more=f"X: {'y' * LONGEST_HEAD}\r\n")), "invalid_multipart"),
        (form(part("file", b"", more="no colon\r\n")), "invalid_multipart"),
        (form(*[part("x", b"")] * (MOST_PARTS + 1)), "invalid_multipart"),
        (form(part("file", b"x\r\n" + MARK + b"y"), MODEL), "invalid_multipart"),
        (MARK + b" " * 1000, "invalid_multipart"),
    ],
)
def test_forms_that_are_refused(body: bytes, code: str) -> None:
    assert read(FormModel(BOUNDARY), body) == f"! {code}"
    assert read(FormModel(BOUNDARY), body, one_by_one(body)) == f"! {code}"


@pytest.mark.parametrize(
    "disposition",
    [
        "content-disposition: form-data; name=model",
        'Content-Disposition:form-data;name="model"',
        'CONTENT-DISPOSITION: form-data; filename="x"; name="model"',
        'Content-Disposition: form-data;\r\n name="model"',
        'Content-Disposition: form-data; name="model"; filename="a\\"b"',
    ],
)
def test_a_name_may_be_written_in_many_ways(disposition: str) -> None:
    body = MARK + f"\r\n{disposition}\r\n\r\nwhisper-1\r\n--{BOUNDARY}--".encode()
    assert read(FormModel(BOUNDARY), body, one_by_one(body)) == "whisper-1"


@pytest.mark.parametrize("boundary", ["", "x" * 71, "ends in space ", "\n", "ä"])
def test_what_can_be_no_boundary(boundary: str) -> None:
    with pytest.raises(BadBodyError) as caught:
        FormModel(boundary)
    assert caught.value.code == "invalid_content_type"


def test_nothing_of_a_file_is_kept() -> None:
    reader = FormModel(BOUNDARY)
    reader.feed(MODEL[2:] + part("file", b""))
    for _ in range(64):
        reader.feed(bytes(1 << 20))
        assert len(reader._buffer) < 2 * len(MARK)
    reader.feed(b"\r\n" + MARK + b"--")
    assert reader.model() == "whisper-1"
