"""Text as a speech synthesiser wants it: cleaned, in sentences, each in clauses with the mark that ends them. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LONGEST_CLAUSE = 300
"""Characters. A longer one is cut between words, or in a word that is itself longer: memory and time stay bounded."""
ABBREVIATIONS = {
    "mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "rev", "gen", "col", "lt", "sgt", "capt", "hon", "gov",
    "sen", "rep", "pres", "vs", "no", "vol", "fig", "ed", "pp", "approx", "dept", "est", "inc", "ltd", "co",
    "corp", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec", "e.g", "i.e",
    "cf", "al",
}  # fmt: skip
"""After these, in lower case, a full stop ends no sentence."""
CLOSERS = "\"'”’)]}»"
CLOSING = f"[{re.escape(CLOSERS)}]*"
# Each run of marks is looked at once, from its begin: thousands of full stops take no longer than as many letters.
END = re.compile(rf"(?<![.!?…])[.!?…]+{CLOSING}(?=\s)|[。！？]+{CLOSING}|\n\s*\n")
PAUSE = re.compile(rf"(?<![,;:.!?…])[,;:.!?…]+{CLOSING}(?=\s)|\s[-–]+(?=\s)|—+|[，、；：]+")
NEXT = re.compile(r"\S")
MARKS = {
    **{"…": ".", "—": ",", "–": ",", "-": ","},
    **{"。": ".", "！": "!", "？": "?", "，": ",", "、": ",", "；": ";", "：": ":"},
}
SPOKEN_AS_IT_IS = frozenset(",;:.!?")


@dataclass(frozen=True)
class Clause:
    """A stretch of text without a pause in it, and the mark after it: one of `, ; : . ! ?`, or nothing."""

    text: str
    mark: str


def cleaned(text: str) -> str:
    """`text` composed (NFC), without invisible, private and unassigned characters; spaces and controls are spaces.

    A control character means something to espeak-ng, and must not get there. Line ends stay: an empty line ends a
    sentence.
    """
    kept = []
    for character in unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")):
        category = unicodedata.category(character)
        if character == "\n":
            kept.append("\n")
        elif category in ("Cc", "Zs", "Zl", "Zp"):
            kept.append(" ")
        elif category[0] != "C":
            kept.append(character)
    return "".join(kept)


def sentences(text: str) -> list[str]:
    """The sentences of a cleaned text, in order; joined, they are the text but for white space."""
    found, begin = [], 0
    for end in END.finditer(text):
        if _ends_sentence(text, begin, end):
            found.append(text[begin : end.end()])
            begin = end.end()
    found.append(text[begin:])
    return [" ".join(sentence.split()) for sentence in found if sentence.strip()]


def clauses(sentence: str) -> list[Clause]:
    """The clauses of one sentence; the last has the sentence's mark, a full stop if there is none."""
    found, begin = [], 0
    for pause in PAUSE.finditer(sentence):
        if pause[0].rstrip(CLOSERS) == "." and not _ends_sentence(sentence, begin, pause):
            continue
        found += _cut(sentence[begin : pause.end()], _mark(pause[0]))
        begin = pause.end()
    rest = sentence[begin:]
    return found + _cut(rest, _mark(rest.rstrip(CLOSERS)[-1:]) or ".")


def utterances(spoken: Iterable[tuple[str, str]], longest: int) -> Iterator[str]:
    """Phonemes of clauses and their marks, joined to strings of at most `longest` characters.

    A string ends where a clause does, unless that clause alone is too long: then at a space, or anywhere without one.
    """
    held = ""
    for phonemes, mark in spoken:
        if not phonemes:
            continue
        clause = phonemes + mark
        if held and len(held) + 1 + len(clause) > longest:
            yield held
            held = ""
        held = f"{held} {clause}" if held else clause
        while len(held) > longest:
            at = held.rfind(" ", 1, longest + 1)
            at = at if at > 0 else longest
            yield held[:at]
            held = held[at:].lstrip()
    if held:
        yield held


def _ends_sentence(text: str, begin: int, end: re.Match[str]) -> bool:
    if end[0].rstrip(CLOSERS) != ".":
        return True
    following = NEXT.search(text, end.end())
    after = following[0] if following else ""
    before = text[begin : end.start()].split()[-1:]
    word = before[0].lstrip("\"'“‘([{«").lower() if before else ""
    if word in ABBREVIATIONS and (after or word not in ("no", "co", "inc", "ltd", "al")):
        return False
    return not (len(word) == 1 and word.isalpha() and word != "i") and not after.islower()


def _mark(ending: str) -> str:
    for character in reversed(ending.strip().rstrip(CLOSERS)):
        mark = MARKS.get(character, character)
        if mark in SPOKEN_AS_IT_IS:
            return mark
    return ""


def _cut(text: str, mark: str) -> list[Clause]:
    found = []
    text = text.strip()
    while len(text) > LONGEST_CLAUSE:
        at = text.rfind(" ", 1, LONGEST_CLAUSE + 1)
        at = at if at > 0 else LONGEST_CLAUSE
        found.append(Clause(text[:at], ""))
        text = text[at:].lstrip()
    return [*found, Clause(text, mark)] if text else found
