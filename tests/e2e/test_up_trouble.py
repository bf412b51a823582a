"""`insource up` in trouble: killed children, a killed supervisor, interrupts, disks, ports, damage. No model."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.installation import Installation, eventually
from tests.e2e.test_up_and_down import processes_naming

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), pytest.mark.xdist_group("e2e-trouble")]


@contextlib.contextmanager
def begun(installation: Installation, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`insource up` in the foreground (or as told), from its first process on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "insource", "up", *arguments],
        env=installation.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def is_alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def stopped(pid: int) -> int:
    """`pid`, once the process is stopped."""
    os.kill(pid, signal.SIGSTOP)
    stat = Path(f"/proc/{pid}/stat")
    eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", timeout_s=120, what="it is not stopped")
    return pid


def child(installation: Installation, name: str) -> int:
    with contextlib.suppress(FileNotFoundError, KeyError):
        return int(installation.state["processes"][name])
    return 0


def nothing_left(installation: Installation) -> None:
    eventually(
        lambda: processes_naming(str(installation.data)) == [],
        timeout_s=120,
        what=lambda: f"left: {processes_naming(str(installation.data))}",
    )


def test_a_killed_child_comes_back_and_a_killed_supervisor_is_cleaned_up_after(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "a")
    installation.up()
    first = child(installation, "operator")
    os.kill(first, signal.SIGKILL)
    eventually(lambda: child(installation, "operator") not in (0, first), timeout_s=120, what="no new operator")
    log = installation.data / "logs" / "up.log"
    said = (
        rf"operator was killed by SIGKILL; starting it again in 0\.2 s; its log: {installation.data}/logs/operator.log"
    )
    eventually(lambda: bool(re.search(said, log.read_text())), timeout_s=120, what=log.read_text)

    # A child that is stopped hears nothing of its supervisor's end.
    stuck = stopped(child(installation, "ledger"))
    os.kill(installation.state["pid"], signal.SIGKILL)
    eventually(lambda: len(processes_naming(str(installation.data))) == 1, timeout_s=120, what="more than one is left")
    assert is_alive(stuck)
    refused = installation.command("status", check=False)
    assert (refused.returncode, "nothing is running" in refused.stderr) == (1, True)
    told = installation.up()
    assert f"has left running: pid {stuck}" in told
    assert not is_alive(stuck)
    assert child(installation, "ledger") != stuck

    # And `down` alone does as much.
    stuck = stopped(child(installation, "ledger"))
    os.kill(installation.state["pid"], signal.SIGKILL)
    eventually(lambda: len(processes_naming(str(installation.data))) == 1, timeout_s=120, what="more than one is left")
    told = installation.command("down").stdout
    assert f"has left running: pid {stuck}" in told
    nothing_left(installation)
    assert "nothing is running" in installation.command("down").stdout


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_during_the_start_leaves_nothing(tmp_path: Path, sent: signal.Signals) -> None:
    installation = Installation(tmp_path / "a")
    with begun(installation) as process:
        eventually(lambda: child(installation, "cluster") > 0, timeout_s=120, what="no cluster was started")
        process.send_signal(sent)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 130, said
        assert "Traceback" not in said
    nothing_left(installation)
    assert "nothing is running" in installation.command("down").stdout


def test_an_interrupt_of_a_detached_start_ends_it(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "a")
    with begun(installation, "--detach") as process:
        eventually(lambda: child(installation, "cluster") > 0, timeout_s=120, what="no cluster was started")
        cluster = stopped(child(installation, "cluster"))  # it must not be ready before it is interrupted
        busy = installation.command("env", check=False)
        assert (busy.returncode, "is not ready" in busy.stderr) == (1, True), busy.stderr
        process.send_signal(signal.SIGINT)
        os.kill(cluster, signal.SIGCONT)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 130, said
        assert "Traceback" not in said
    nothing_left(installation)


def test_a_gateway_port_that_is_taken_is_named_with_its_owner(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "a")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for flags in ((), ("--detach",)):
            refused = installation.command("up", "--gateway-port", str(port), *flags, check=False)
            assert refused.returncode == 1
            assert f"port {port} for the gateway is taken by pid {os.getpid()} (" in refused.stderr
            assert "--gateway-port" in refused.stderr
    nothing_left(installation)


@contextlib.contextmanager
def small_disk(folder: Path, *options: str) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", ",".join(("size=4m", *options)), "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "ro"):
        for flags in ((), ("--detach",)):
            refused = Installation(disk / "data").command("up", *flags, check=False)
            assert refused.returncode == 1
            assert refused.stderr.startswith(f"Error: {disk}/data")
            assert "Read-only file system" in refused.stderr
            assert "make it writable" in refused.stderr


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk):
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(65536))
        installation = Installation(disk / "data")
        refused = installation.command("up", "--detach", check=False)
        assert refused.returncode == 1
        assert "No space left on device" in refused.stderr
        assert "make room" in refused.stderr
        nothing_left(installation)


def test_a_damaged_store_is_named_by_up(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "a")
    journal = installation.data / "cluster" / "store" / "journal.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_bytes(b"nonsense\n{}\n")
    refused = installation.command("up", "--detach", check=False)
    assert refused.returncode == 1
    assert f"{journal}, line 1 is damaged" in refused.stderr
    assert "head -n 0" in refused.stderr
    assert journal.read_bytes() == b"nonsense\n{}\n"
    nothing_left(installation)
