"""The ports that tests give to programs."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import ports
from tests.ports import END, FIRST, free_port, free_ports, is_free


def test_no_two_processes_are_told_the_same() -> None:
    command = [sys.executable, "-c", "from tests.ports import free_ports\nprint(*free_ports(50))"]

    def told(_: int) -> list[str]:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

    with ThreadPoolExecutor(4) as pool:
        found = [port for some in pool.map(told, range(4)) for port in some]
    assert len(set(found)) == len(found) == 200


@pytest.mark.parametrize("turn", [str(END - 1), "", "nonsense", "99999"])
def test_one_in_use_is_passed_over_and_they_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: str
) -> None:
    monkeypatch.setattr(ports, "TURN", tmp_path / "turn")
    (tmp_path / "turn").write_text(turn)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        number = taken.getsockname()[1]
        (tmp_path / "turn").write_text(str(number))
        assert not is_free(number)
        assert number not in free_ports(2)
    (tmp_path / "turn").write_text(str(END - 1))
    assert all(FIRST <= port < END for port in free_ports(3))
