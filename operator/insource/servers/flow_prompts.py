"""What a prompt asks `flow-32` to draw: words of its vocabulary, or an error that lists them. Pure.

A prompt names one shape, and may name its size, its colour and the background's: "a large red star on a blue
background", "small circle", "yellow heart on black". What is not named is left to the model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from insource.servers.flow_vocabulary import COLOURS, SHAPES, SIZES

SYNONYMS: dict[str, str] = {
    "disc": "circle",
    "disk": "circle",
    "dot": "circle",
    "rhombus": "diamond",
    "plus": "cross",
    "doughnut": "ring",
    "donut": "ring",
    "tiny": "small",
    "little": "small",
    "big": "large",
    "huge": "large",
    "violet": "purple",
    "grey": "gray",
}
"""Words that mean one of the vocabulary to a person and to the training set alike; nothing is stretched."""
FILLERS = frozenset(
    {"a", "an", "the", "on", "in", "with", "of", "over", "against", "and", "draw", "paint", "show", "me", "please"}
    | {"picture", "image", "drawing", "painting", "icon", "shape", "colour", "color", "coloured", "colored"}
)
"""Words that say nothing about the picture."""
BACKGROUND = "background"
_WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_MARKS = re.compile(r"[\s.,;:!?\"'()-]*")
MOST_SHOWN = 5
LONGEST_SHOWN = 24


class PromptError(ValueError):
    """The prompt is outside the vocabulary; the text says how, and lists it."""


@dataclass(frozen=True)
class Drawing:
    """What to draw; None: not said, the model chooses."""

    shape: str
    size: str | None = None
    colour: str | None = None
    background: str | None = None

    @property
    def condition(self) -> tuple[int, int, int, int]:
        """Columns of the network's `condition`: 1-based indices, 0 for what is not said."""
        colours = tuple(COLOURS)
        return (
            _index(SHAPES, self.shape),
            _index(SIZES, self.size),
            _index(colours, self.colour),
            _index(colours, self.background),
        )

    @property
    def words(self) -> int:
        """How many words of the vocabulary were said: this model's text tokens."""
        return sum(index > 0 for index in self.condition)


def read_prompt(prompt: str) -> Drawing:
    """The drawing that `prompt` asks for. Raises `PromptError`."""
    words = [SYNONYMS.get(word, word) for word in _words(prompt)]
    _refuse_unknown(words)
    shape = _only(words, SHAPES, "shape")
    if shape is None:
        raise PromptError(f"The prompt names no shape. {vocabulary()}")
    colour, background = _colours(words, shape)
    if colour is not None and colour == background:
        raise PromptError(f"The {shape} and the background are both {colour}: nothing would be seen. Name two colours.")
    return Drawing(shape, _only(words, SIZES, "size"), colour, background)


def vocabulary() -> str:
    """All that this model knows, as a sentence for people."""
    return (
        f"This is a toy model of 32x32 pixels. It draws one shape ({', '.join(SHAPES)}), {' or '.join(SIZES)}, "
        f"in one colour on a background of another ({', '.join(COLOURS)}), such as "
        "'a large red star on a blue background'."
    )


def _words(prompt: str) -> list[str]:
    words, at = [], 0
    lowered = prompt.lower()
    for found in _WORDS.finditer(lowered):
        _refuse_marks(lowered[at : found.start()])
        words.append(found.group())
        at = found.end()
    _refuse_marks(lowered[at:])
    return words


def _refuse_marks(between: str) -> None:
    if not _MARKS.fullmatch(between):
        odd = _MARKS.sub("", between)
        raise PromptError(f"The prompt has characters that mean nothing here: {_shown([odd])}. {vocabulary()}")


def _refuse_unknown(words: list[str]) -> None:
    known = FILLERS.union(SHAPES, SIZES, COLOURS, [BACKGROUND])
    unknown = list(dict.fromkeys(word for word in words if word not in known))
    if unknown:
        raise PromptError(f"The prompt has words that this model does not know: {_shown(unknown)}. {vocabulary()}")


def _shown(words: list[str]) -> str:
    """A few of `words`, shortened: an error is not as long as the prompt."""
    short = [word if len(word) <= LONGEST_SHOWN else word[:LONGEST_SHOWN] + "..." for word in words[:MOST_SHOWN]]
    more = f" and {len(words) - MOST_SHOWN} more" if len(words) > MOST_SHOWN else ""
    return ", ".join(ascii(word) for word in short) + more


def _only(words: list[str], choices: tuple[str, ...], kind: str) -> str | None:
    named = list(dict.fromkeys(word for word in words if word in choices))
    if len(named) > 1 or sum(word in choices for word in words) > 1:
        raise PromptError(
            f"The prompt names more than one {kind} ({', '.join(named)}): one picture has one. {vocabulary()}"
        )
    return named[0] if named else None


def _colours(words: list[str], shape: str) -> tuple[str | None, str | None]:
    """Of the shape and of the background: a colour before "background" is its, else one after the shape is."""
    own: list[str] = []
    behind: list[str] = []
    said = [word for word in words if word in COLOURS or word in (shape, BACKGROUND)]
    for place, word in enumerate(said):
        if word in COLOURS:
            after = said[place + 1] if place + 1 < len(said) else ""
            before = said[:place]
            is_behind = after == BACKGROUND or (shape in before and after != shape)
            (behind if is_behind else own).append(word)
    if len(own) > 1 or len(behind) > 1:
        named = ", ".join(own if len(own) > 1 else behind)
        raise PromptError(f"The prompt gives one thing more than one colour ({named}). {vocabulary()}")
    return (own[0] if own else None), (behind[0] if behind else None)


def _index(choices: tuple[str, ...], word: str | None) -> int:
    return 0 if word is None else choices.index(word) + 1
