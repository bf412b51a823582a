"""MAI-Image: sizes at, below and above their bounds, parameters it has not, its usage in OpenAI's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from insource.adapter.dialects.azure_images import (
    PICTURE_MOST_BYTES,
    MAIImageEdits,
    MAIImages,
    images_response,
    usage_of,
)
from insource.adapter.dialects.exchange import Exchange
from insource.adapter.picture_form import Editing, Picture
from insource.adapter.refusals import Refusal
from insource.adapter.requests import ImageEdit, ImageGeneration
from insource.env import system_env

MODEL = "MAI-Image-2.5"


def image(**changes: Any) -> ImageGeneration:
    return ImageGeneration.of({"model": "artist", "prompt": "a red circle", **changes})


class _NoCalls:
    def post(self, headers: Any, body: Any) -> Any:
        raise AssertionError("nothing is sent")


DIALECT = MAIImages(Exchange(_NoCalls(), system_env(), lambda: "key"), system_env())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"size": "auto"},
        {"size": "1024x1024"},
        {"size": "768x768"},
        {"size": "768x1365"},
        {"n": 1, "response_format": "b64_json", "output_format": "png", "quality": "auto", "background": "auto"},
        {"moderation": "auto", "user": "anna"},
    ],
)
def test_what_it_can_do(changes: dict[str, Any]) -> None:
    DIALECT.check_possible(image(**changes), MODEL)


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("size", "767x1024"),
        ("size", "1024x767"),
        ("size", "768x1366"),
        ("size", "1025x1024"),
        ("n", 2),
        ("response_format", "url"),
        ("output_format", "jpeg"),
        ("output_format", "webp"),
        ("output_compression", 100),
        ("quality", "high"),
        ("background", "transparent"),
        ("moderation", "low"),
        ("style", "vivid"),
    ],
)
def test_what_it_cannot_is_refused_by_name(param: str, value: Any) -> None:
    with pytest.raises(Refusal) as refused:
        DIALECT.check_possible(image(**{param: value}), MODEL)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert f"'{param}'" in refused.value.message


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        (None, {}),
        ({}, {}),
        ("many", {}),
        ({"num_output_tokens": -1}, {}),
        ({"num_output_tokens": True}, {}),
        (
            {"num_input_text_tokens": 7, "num_output_tokens": 1024},
            {
                "input_tokens": 7,
                "input_tokens_details": {"text_tokens": 7, "image_tokens": 0},
                "output_tokens": 1024,
                "output_tokens_details": {"image_tokens": 1024, "text_tokens": 0},
                "total_tokens": 1031,
            },
        ),
        (
            {"input_text_tokens": 7, "input_image_tokens": 3, "output_image_tokens": 1024},
            {
                "input_tokens": 10,
                "input_tokens_details": {"text_tokens": 7, "image_tokens": 3},
                "output_tokens": 1024,
                "output_tokens_details": {"image_tokens": 1024, "text_tokens": 0},
                "total_tokens": 1034,
            },
        ),
        (
            {"input_tokens": 5, "output_tokens": 9},
            {
                "input_tokens": 5,
                "output_tokens": 9,
                "output_tokens_details": {"image_tokens": 9, "text_tokens": 0},
                "total_tokens": 14,
            },
        ),
    ],
)
def test_usage_by_whichever_name(usage: Any, told: dict[str, Any]) -> None:
    assert usage_of(usage) == told
    answer = images_response({"data": [{"b64_json": "cGljdHVyZQ=="}], "usage": usage}, 5)
    expected = {"created": 5, "data": [{"b64_json": "cGljdHVyZQ=="}], "output_format": "png"}
    assert answer == (expected | ({"usage": told} if told else {}))


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"data": []},
        {"data": "x"},
        {"data": [{}]},
        {"data": [{"b64_json": ""}]},
        {"data": [{"b64_json": 1}]},
        {"data": [{"url": "https://example.com/a.png"}]},
        {"data": [{"b64_json": "a"}, {"b64_json": "b"}]},
        {"error": {"code": "BadRequest", "message": "no"}},
    ],
)
def test_what_is_no_picture_is_the_vendors_failure(given: Any) -> None:
    with pytest.raises(Refusal) as refused:
        images_response(given, 5)
    assert (refused.value.status, refused.value.reason) == (503, "invalid_answer")


PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
EDITOR = MAIImageEdits(Exchange(_NoCalls(), system_env(), lambda: "key"), system_env())


def editing(folder: Path, *pictures: tuple[str, bytes], **changes: Any) -> Editing:
    stored = []
    for at, (name, content) in enumerate(pictures):
        path = folder / str(at)
        path.write_bytes(content)
        stored.append(Picture(name, "a.gif", "image/gif", path))
    return Editing(ImageEdit.of({"model": "artist", "prompt": "blue", **changes}), tuple(stored))


def test_one_png_or_jpeg_is_edited(tmp_path: Path) -> None:
    for name in ("image", "image[]"):
        for content in (PNG, b"\xff\xd8\xff\xe0" + bytes(20)):
            EDITOR.check_possible(editing(tmp_path, (name, content)), MODEL)
    EDITOR.check_possible(editing(tmp_path, ("image", PNG), size="auto", n=1), MODEL)


@pytest.mark.parametrize(
    ("pictures", "changes", "model", "param"),
    [
        ([("image", b"GIF89a")], {}, MODEL, "image"),
        ([("image", PNG)], {"size": "1024x1024"}, MODEL, "size"),
        ([("image", PNG)], {"n": 2}, MODEL, "n"),
        ([("image", PNG)], {"input_fidelity": "high"}, MODEL, "input_fidelity"),
        ([("image", PNG), ("mask", PNG)], {}, MODEL, "image"),
        ([("image[]", PNG), ("image[]", PNG)], {}, MODEL, "image"),
        ([("mask", PNG)], {}, MODEL, "image"),
        ([("image", PNG)], {}, "MAI-Image-2", "image"),
        ([("image", PNG)], {}, "mai-image-2e", "image"),
    ],
)
def test_what_cannot_be_edited_is_refused_by_name(
    tmp_path: Path, pictures: list[tuple[str, bytes]], changes: dict[str, Any], model: str, param: str
) -> None:
    with pytest.raises(Refusal) as refused:
        EDITOR.check_possible(editing(tmp_path, *pictures, **changes), model)
    assert (refused.value.status, refused.value.param) == (400, param)


def test_too_large_a_picture_is_413(tmp_path: Path) -> None:
    wanted = editing(tmp_path, ("image", PNG))
    with wanted.pictures[0].path.open("ab") as file:
        file.truncate(PICTURE_MOST_BYTES)
    EDITOR.check_possible(wanted, MODEL)
    with wanted.pictures[0].path.open("ab") as file:
        file.truncate(PICTURE_MOST_BYTES + 1)
    with pytest.raises(Refusal) as refused:
        EDITOR.check_possible(wanted, MODEL)
    assert refused.value.status == 413
