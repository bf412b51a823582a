"""`insource up` leaves nothing behind, picks up where it was, and two of them do not meet."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.e2e.installation import EXAMPLES, Installation, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.xdist_group("e2e-lifecycle")]


def processes_naming(text: str) -> list[str]:
    """Command lines of running processes that name `text` in their arguments or environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                whole = (folder / "cmdline").read_bytes() + b"\0" + (folder / "environ").read_bytes()
            except OSError:
                continue
            if text.encode() in whole:
                found.append(whole[:120].replace(b"\0", b" ").decode(errors="replace"))
    return found


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_down_leaves_no_process_and_no_port_and_up_again_finds_everything(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "a")
    printed = installation.up("-f", str(EXAMPLES / "transcription.yaml"))
    assert installation.state["gateway_url"] in printed
    assert installation.api_key in printed
    installation.wait_ready("dictation")
    rows = json.loads(installation.command("status", "--json").stdout)
    assert [(r["namespace"], r["name"], r["modality"], r["ready"]) for r in rows] == [
        ("voice", "dictation", "Transcription", True)
    ]
    uid = installation.get("mdep", "dictation")["metadata"]["uid"]
    before = installation.state
    ports = json.loads((installation.data / "ports.json").read_text())
    installation.down()
    assert [port for port in ports.values() if is_open(port)] == []
    assert processes_naming(str(installation.data)) == []
    assert not Path(before["run_dir"]).exists()

    installation.up()
    try:
        assert installation.get("mdep", "dictation")["metadata"]["uid"] == uid
        assert installation.state["gateway_url"] == before["gateway_url"]
        installation.wait_ready("dictation")
    finally:
        os.kill(installation.state["pid"], signal.SIGINT)
        eventually(lambda: processes_naming(str(installation.data)) == [], timeout_s=90, what="left after Ctrl-C")


def test_two_ups_do_not_meet_and_a_second_up_in_the_same_place_is_refused(tmp_path: Path) -> None:
    one, two = Installation(tmp_path / "one"), Installation(tmp_path / "two")
    one.up()
    try:
        refused = one.command("up", "--detach", check=False)
        assert refused.returncode != 0
        assert "already running" in refused.stderr
        two.up("-f", str(EXAMPLES / "transcription.yaml"))
        try:
            assert set(json.loads((one.data / "ports.json").read_text()).values()).isdisjoint(
                json.loads((two.data / "ports.json").read_text()).values()
            )
            assert json.loads(one.command("status", "--json").stdout) == []
            assert one.post("dictation", audio=b"x").status_code in (401, 404)
            assert one.post("dictation", audio=b"x", key=two.api_key).status_code in (401, 404)
        finally:
            two.down()
        assert one.get("ns", "voice")["status"]["phase"] == "Active"
    finally:
        one.down()


def test_killing_the_supervisor_ends_everything(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "a")
    installation.up()
    os.kill(installation.state["pid"], signal.SIGKILL)
    eventually(lambda: processes_naming(str(installation.data)) == [], timeout_s=90, what="processes are left")
    assert "nothing is running" in installation.command("down").stdout
    installation.up()
    installation.down()


def test_commands_without_an_installation_say_how_to_get_one(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "none")
    for command in ("status", "env", "cost"):
        done = installation.command(command, check=False)
        assert done.returncode != 0
        assert "insource up" in done.stderr
