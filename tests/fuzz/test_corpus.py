"""What `make fuzz` has found worth keeping, by the same functions, without the fuzzer."""

from __future__ import annotations

import subprocess
import sys

import pytest

from insource.adapter import plain_form
from insource.adapter.refusals import Refusal
from tests.fuzz import forms
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import CORPUS, TARGETS, inputs

AS_IN_PRODUCTION = (
    "ignore::aiohttp.multipart.BadContentDispositionHeader",
    "ignore::aiohttp.multipart.BadContentDispositionParam",
)
pytestmark = [pytest.mark.filterwarnings(each) for each in AS_IN_PRODUCTION]


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_was_found_fails(name: str) -> None:
    for each in (*SEEDS[name], *inputs(name)):
        TARGETS[name](each)


def test_each_target_has_a_corpus_and_it_is_small() -> None:
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(TARGETS) == sorted(SEEDS)
    assert all(len(inputs(name)) >= 10 for name in TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.glob("*/*")) < 200_000


def test_the_corpus_has_what_is_taken_and_what_is_refused() -> None:
    received = [forms._received(each[1:], 1 + each[0]) for each in inputs("upload") if each]
    assert {isinstance(each, Refusal) for each in received} == {True, False}
    assert len({each.code for each in received if isinstance(each, Refusal)}) >= 4
    plain = [plain_form.split(each, forms.BOUNDARY) for each in inputs("plain_form")]
    assert None in plain
    assert any(plain)


@pytest.mark.parametrize(("wrong", "name"), [(b"RIFX", "upload"), (b"model", "plain_form")])
def test_the_oracle_would_see_a_wrong_byte(wrong: bytes, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    true = forms.read_by_werkzeug
    monkeypatch.setattr(forms, "read_by_werkzeug", lambda body: [(n, f, wrong) for n, f, _ in true(body) or []])
    with pytest.raises(AssertionError):
        TARGETS[name](SEEDS[name][0])


BAD_HEADERS = """
import warnings
from tests.fuzz import forms
for number in range(3):
    head = f'--b0undary\\r\\nContent-Disposition: form-data; name{number}\\r\\n\\r\\nx\\r\\n--b0undary--\\r\\n'
    print(forms._received(head.encode(), 100).code)
import aiohttp.multipart
print(len(getattr(aiohttp.multipart, "__warningregistry__", {}).keys() - {"version"}))
"""


def test_a_header_that_is_none_is_neither_logged_nor_remembered() -> None:
    ran = subprocess.run([sys.executable, "-c", BAD_HEADERS], capture_output=True, text=True, check=True, timeout=120)
    *codes, remembered = ran.stdout.split()
    assert len(codes) == 3
    assert remembered == "0"
    assert "BadContentDisposition" not in ran.stderr
