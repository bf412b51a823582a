"""Weights from parts, and what llama.cpp is asked for: whole or not at all, checked, wherever there is room."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from insource.servers.generation import Task
from insource.servers.gguf import assembled, cache_folders, gguf_weights, has_chat_template
from insource.servers.llama import engine_request, transcript
from insource.servers.model_files import ModelUnavailableError
from insource.servers.settings import ServerSettings
from insource.servers.text_requests import Message, Sampling

WHOLE = b"GGUF" + bytes(range(256)) * 20
SHA256 = hashlib.sha256(WHOLE).hexdigest()


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    made = []
    for number, begin in enumerate(range(0, len(WHOLE), 2000)):
        made.append(tmp_path / f"part{number}")
        made[-1].write_bytes(WHOLE[begin : begin + 2000])
    return made


def test_is_put_together_once(parts: list[Path], tmp_path: Path) -> None:
    weights = assembled(parts, SHA256, [tmp_path / "a" / "b"])
    assert weights.read_bytes() == WHOLE
    before = weights.stat().st_mtime_ns
    assert assembled(parts, SHA256, [tmp_path / "other", tmp_path / "a" / "b"]) == weights
    assert weights.stat().st_mtime_ns == before
    assert [path.name for path in weights.parent.iterdir()] == [f"{SHA256}.gguf"]


def test_a_damaged_one_is_made_anew(parts: list[Path], tmp_path: Path) -> None:
    weights = assembled(parts, SHA256, [tmp_path / "a"])
    weights.write_bytes(WHOLE[:-1])
    assert assembled(parts, SHA256, [tmp_path / "a"]).read_bytes() == WHOLE


def test_wrong_parts_leave_nothing_behind(parts: list[Path], tmp_path: Path) -> None:
    parts[0].write_bytes(b"something else")
    with pytest.raises(ModelUnavailableError, match="reinstall the packages"):
        assembled(parts, SHA256, [tmp_path / "a"])
    assert list((tmp_path / "a").iterdir()) == []


def test_goes_where_it_can_be_written(parts: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert assembled(parts, SHA256, [tmp_path / "file" / "x", tmp_path / "b"]).parent == tmp_path / "b"
    with pytest.raises(ModelUnavailableError, match=r"Not a directory.*CACHE_DIR"):
        assembled(parts, SHA256, [tmp_path / "file" / "x"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
def test_a_full_disk_is_told(parts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.mkstemp", lambda prefix, dir: (os.open("/dev/full", os.O_WRONLY), f"{dir}/partial"))
    with pytest.raises(ModelUnavailableError, match=r"No space left.*CACHE_DIR"):
        assembled(parts, SHA256, [tmp_path / "a"])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_that_somebody_else_can_write_is_not_trusted(parts: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    folder.chmod(0o777)
    (folder / f"{SHA256}.gguf").write_bytes(WHOLE)
    with pytest.raises(ModelUnavailableError, match="somebody else"):
        assembled(parts, SHA256, [folder])


def test_folders_by_the_environment() -> None:
    folders = cache_folders({"CACHE_DIR": "/cache", "HOME": "/home/me"})
    assert folders[:2] == (Path("/cache/models"), Path("/home/me/.cache/insource/models"))
    assert cache_folders({"HOME": "/h", "XDG_CACHE_HOME": "/x"})[0] == Path("/x/insource/models")
    assert len(cache_folders({})) == 1


def test_a_delivered_one_is_used_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(WHOLE)
    settings = ServerSettings(model_dir=tmp_path, model_sha256=SHA256)
    assert gguf_weights(settings, []) == tmp_path / "model.gguf"
    with pytest.raises(ModelUnavailableError, match="SHA-256"):
        gguf_weights(ServerSettings(model_dir=tmp_path, model_sha256="0" * 64), [])
    with pytest.raises(ModelUnavailableError, match=r"\*\.gguf"):
        gguf_weights(ServerSettings(model_dir=tmp_path / "empty"), [])


@pytest.mark.parametrize("uri", ["", "package://", "s3://a/b", "package://no-such-model", "package://click"])
def test_what_is_no_such_package_is_told(uri: str) -> None:
    with pytest.raises(ModelUnavailableError, match="MODEL_URI"):
        gguf_weights(ServerSettings(model_uri=uri), [])


def test_a_template_for_chats_is_found(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(WHOLE)
    assert not has_chat_template(file)
    file.write_bytes(WHOLE + b"tokenizer.chat_template" + WHOLE)
    assert has_chat_template(file)


def test_a_base_model_is_shown_a_transcript() -> None:
    messages = (Message("system", "Be short."), Message("user", "Hi"), Message("assistant", "Ho"), Message("user", "?"))
    assert transcript(messages) == "Be short.\n\nUser: Hi\nAssistant: Ho\nUser: ?\nAssistant:"
    task = Task(0, Sampling(None, stop=("x",)), messages=messages)
    asked = engine_request(task, as_transcript=True)
    assert (asked["prompt"], asked["stop"]) == (transcript(messages), ["x", "\nUser:"])
    assert "max_tokens" not in asked
    assert engine_request(task, as_transcript=False)["messages"][0] == {"role": "system", "content": "Be short."}


def test_seeds_are_folded_into_llamas_and_are_never_its_random_one() -> None:
    for seed in (0, 5, -1, 2**32 - 1, 2**63 - 1):
        asked = engine_request(Task(0, Sampling(1, seed=seed), prompt="a"), as_transcript=False)
        assert 0 <= asked["seed"] < 2**32 - 1
    assert "seed" not in engine_request(Task(0, Sampling(1), prompt="a"), as_transcript=False)
