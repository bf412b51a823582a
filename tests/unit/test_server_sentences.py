"""Text before it is spoken: cleaned, cut into sentences and clauses, and phonemes into utterances of bounded length."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insource.servers.piper_voice import BadVoiceError, phoneme_ids, voice_config
from insource.servers.sentences import LONGEST_CLAUSE, clauses, cleaned, sentences, utterances
from insource.servers.speech_request import LONGEST_INPUT

TEXTS = st.text(max_size=LONGEST_INPUT) | st.text(string.ascii_letters + " .,!?\n\"'…—-0123456789", max_size=600)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Smith met Mrs. Jones at 4 p.m. on Main St. yesterday.", None),
        ("It costs $3.50, or 1,234.56 in all.", None),
        ("J. S. Bach wrote it.", None),
        ("See no. 5, e.g. this one.", None),
        ("The answer is no. I am sure.", None),
        ('"Stop!" he said. "Why?"', ['"Stop!"', "he said.", '"Why?"']),
        ("He asked me (why?) Nobody knew.", ["He asked me (why?)", "Nobody knew."]),
        ("Wait... What?!", ["Wait...", "What?!"]),
        ("wait. for it", None),
        ("A heading\n\nAnd a paragraph\nin two lines", ["A heading", "And a paragraph in two lines"]),
        ("一。二！三", ["一。", "二！", "三"]),
        ("So did I. Then we left.", ["So did I.", "Then we left."]),
        ("", []),
        (" \n\n ", []),
        ("...", ["..."]),
    ],
)
def test_sentences(text: str, expected: list[str] | None) -> None:
    assert sentences(text) == ([text] if expected is None else expected)


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Yes.", [("Yes.", ".")]),
        ("No mark", [("No mark", ".")]),
        ("First, second; third: fourth!", [("First,", ","), ("second;", ";"), ("third:", ":"), ("fourth!", "!")]),
        ('Did "he", too?', [('Did "he",', ","), ("too?", "?")]),
        ("Well - maybe — or not…", [("Well -", ","), ("maybe —", ","), ("or not…", ".")]),
        ("At 10:30 for $1,234.56.", [("At 10:30 for $1,234.56.", ".")]),
        ("Dr. Smith, please.", [("Dr. Smith,", ","), ("please.", ".")]),
        ("well-known", [("well-known", ".")]),
        ('He said "no!"', [('He said "no!"', "!")]),
    ],
)
def test_clauses_and_the_marks_that_end_them(sentence: str, expected: list[tuple[str, str]]) -> None:
    assert [(clause.text, clause.mark) for clause in clauses(sentence)] == expected


def test_a_long_clause_is_cut_between_words_and_a_long_word_anywhere() -> None:
    words = clauses("word " * 200)
    assert [clause.mark for clause in words] == [""] * (len(words) - 1) + ["."]
    assert {word for clause in words for word in clause.text.split()} == {"word"}
    assert [len(clause.text) for clause in clauses("x" * (LONGEST_CLAUSE + 1))] == [LONGEST_CLAUSE, 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x00b\x01c\x1b[0m", "a b c [0m"),
        ("a\u200bb\ufeff\u00ad", "ab"),
        ("tab\tand\u00a0space\u2028line", "tab and space line"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("cafe\u0301", "caf\u00e9"),
        ("\ue000\U0010ffff\ud800x", "x"),
        ("😀", "😀"),
    ],
)
def test_what_is_invisible_does_not_reach_espeak(text: str, expected: str) -> None:
    assert cleaned(text) == expected


@given(TEXTS)
def test_no_character_is_lost_or_doubled_on_the_way(text: str) -> None:
    clean = cleaned(text)
    found = [clause for sentence in sentences(clean) for clause in clauses(sentence)]
    assert "".join("".join(clause.text.split()) for clause in found) == "".join(clean.split())
    assert all(0 < len(clause.text) <= LONGEST_CLAUSE for clause in found)
    assert all(clause.mark in ("", ",", ";", ":", ".", "!", "?") for clause in found)
    assert not any(character < " " for clause in found for character in clause.text)


@pytest.mark.parametrize("pattern", [".", "!", '."', ". ", "\n", "\n ", ",", "- ", "—", "a.", '"', "。", "... "])
def test_the_longest_text_of_marks_is_cut_like_any_other(pattern: str) -> None:
    """A pattern that went back over a run for each of its characters would need minutes here."""
    text = cleaned((pattern * (100 * LONGEST_INPUT))[: 100 * LONGEST_INPUT])
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


PHONEMES = st.lists(
    st.tuples(st.text("abˈə ", max_size=300).map(lambda t: " ".join(t.split())), st.sampled_from(",.?!"))
)


@given(PHONEMES, st.integers(2, 200))
def test_utterances_are_bounded_and_whole(spoken: list[tuple[str, str]], longest: int) -> None:
    found = list(utterances(spoken, longest))
    assert all(0 < len(utterance) <= longest for utterance in found)
    joined = "".join(phonemes + mark for phonemes, mark in spoken if phonemes)
    assert "".join("".join(found).split()) == "".join(joined.split())


def test_an_utterance_ends_where_a_clause_does() -> None:
    assert list(utterances([("aaaa", ","), ("bbbb", ","), ("cc", ".")], 12)) == ["aaaa, bbbb,", "cc."]
    assert list(utterances([("aaaa bbbb cccc", ".")], 10)) == ["aaaa bbbb", "cccc."]
    assert list(utterances([("", ","), ("", ".")], 10)) == []


VOICE = {
    "audio": {"sample_rate": 22050},
    "espeak": {"voice": "en-us"},
    "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
    "num_speakers": 1,
    "dataset": "joe",
    "phoneme_id_map": {"_": [0], "^": [1], "$": [2], " ": [3], "a": [14], "ˈ": [120], "c": [16], "\u0327": [140]},
}


def test_ids_are_padded_after_each_phoneme() -> None:
    config = voice_config(VOICE)
    assert phoneme_ids(config, "ˈa a") == [1, 0, 120, 0, 14, 0, 3, 0, 14, 0, 2]
    assert phoneme_ids(config, "\u00e7") == [1, 0, 16, 0, 140, 0, 2], "decomposed, as the voice was trained"
    assert phoneme_ids(config, "a^$\u2603") == phoneme_ids(config, "a")
    assert phoneme_ids(config, "\u2603") == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"num_speakers": 2}, "2 speakers"),
        ({"phoneme_type": "text"}, "of type 'text'"),
        ({"phoneme_id_map": {"_": [0], "^": [1]}}, r"lacks \$"),
        ({"phoneme_id_map": {"_": ["x"], "^": [1], "$": [2]}}, "not a Piper voice"),
        ({"audio": {}}, "sample_rate"),
        ({"inference": None}, "not a Piper voice"),
    ],
)
def test_a_voice_that_cannot_be_served_says_why(change: dict[str, object], problem: str) -> None:
    with pytest.raises(BadVoiceError, match=problem):
        voice_config({**VOICE, **change})
    with pytest.raises(BadVoiceError):
        voice_config([])
