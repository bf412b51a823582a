"""The flow model's vocabulary: what prompts ask for, and how those outside it are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insource.servers.flow_prompts import FILLERS, SYNONYMS, Drawing, PromptError, read_prompt
from insource.servers.flow_vocabulary import CHOICES, COLOURS, SHAPES, SIZES


@pytest.mark.parametrize(
    ("prompt", "drawing"),
    [
        ("a red circle", Drawing("circle", colour="red")),
        ("circle", Drawing("circle")),
        ("A LARGE Red Star on a Blue background!", Drawing("star", "large", "red", "blue")),
        ("small green heart, yellow background", Drawing("heart", "small", "green", "yellow")),
        ("yellow background with a small green heart", Drawing("heart", "small", "green", "yellow")),
        ("white ring on black", Drawing("ring", colour="white", background="black")),
        ("ring on black", Drawing("ring", background="black")),
        ("black background ring", Drawing("ring", background="black")),
        ("big grey donut", Drawing("ring", "large", "gray")),
        ("draw me a tiny violet plus, please", Drawing("cross", "small", "purple")),
    ],
)
def test_reads_what_people_write(prompt: str, drawing: Drawing) -> None:
    assert read_prompt(prompt) == drawing


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ("", "names no shape"),
        ("   ", "names no shape"),
        ("a red background", "names no shape"),
        ("a photo of a cat", "'photo', 'cat'"),
        ("the digit 7", "'digit', '7'"),
        ("a circle and a square", "more than one shape (circle, square)"),
        ("a circle on a circle", "more than one shape (circle)"),
        ("a small large circle", "more than one size"),
        ("a red blue circle", "more than one colour (red, blue)"),
        ("a circle on red on blue", "more than one colour (red, blue)"),
        ("a red circle on a red background", "both red"),
        ("a red circle \N{PARTY POPPER}", "'\\U0001f389'"),
        ("a red circle\0", "'\\x00'"),
        ("a red circle {json}", "'{'"),
        ("ein Kreis", "'ein', 'kreis'"),
        ("kreis " * 100, "'kreis'. This"),
        (" ".join(f"w{number}" for number in range(50)), "'w4' and 45 more"),
        ("x" * 900, "'" + "x" * 24 + "...'"),
    ],
)
def test_refuses_what_is_outside_it(prompt: str, part: str) -> None:
    with pytest.raises(PromptError) as refused:
        read_prompt(prompt)
    text = str(refused.value)
    assert part in text
    assert len(text) < 700
    if "both red" not in text:
        assert all(word in text for words in CHOICES for word in words), "the vocabulary is listed"


OPTIONAL_SIZE = st.none() | st.sampled_from(SIZES)
OPTIONAL_COLOUR = st.none() | st.sampled_from(list(COLOURS))


@given(st.sampled_from(SHAPES), OPTIONAL_SIZE, OPTIONAL_COLOUR, OPTIONAL_COLOUR, st.booleans())
def test_every_drawing_can_be_asked_for(
    shape: str, size: str | None, colour: str | None, background: str | None, first: bool
) -> None:
    if colour == background:
        background = None
    words = [word for word in (size, colour, shape) if word]
    behind = [background, "background"] if background else []
    said = [*behind, "with", "a", *words] if first else ["a", *words, *(["on", "a", *behind] if behind else [])]
    drawing = read_prompt(" ".join(said))
    assert drawing == Drawing(shape, size, colour, background)
    assert all(0 <= index <= len(words) for index, words in zip(drawing.condition, CHOICES, strict=True))
    assert drawing.words == sum(part is not None for part in (shape, size, colour, background))


WORDS = st.sampled_from([*SHAPES, *SIZES, *COLOURS, *SYNONYMS, *FILLERS, "background", "cat", "ß", "İ", "'", "-", "\n"])


@given(st.text(max_size=60) | st.lists(WORDS, max_size=12).map(" ".join))
def test_any_prompt_is_read_or_refused(prompt: str) -> None:
    try:
        drawing = read_prompt(prompt)
    except PromptError as refused:
        text = str(refused)
        assert len(text) < 800
        text.encode()
    else:
        assert drawing.shape in SHAPES
