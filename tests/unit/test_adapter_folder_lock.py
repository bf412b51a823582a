"""One adapter per folder: a second one is told so; a killed one leaves no lock behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from insource.adapter.folder_lock import FolderInUse, FolderLock

HOLDS = """
import sys
from pathlib import Path
from insource.adapter.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]), "pod-1")
print("held", flush=True)
sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_and_where(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        with pytest.raises(FolderInUse) as refused:
            FolderLock(tmp_path, "pod-2")
        for part in (str(tmp_path), "pod-1", str(first.pid), "INSOURCE_WAL_DIR"):
            assert part in str(refused.value)
        first.kill()
    FolderLock(tmp_path, "pod-2").release()


def test_the_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        lock = FolderLock(tmp_path, "pod-2")
    with pytest.raises(FolderInUse, match="pod-2"):
        FolderLock(tmp_path, "pod-3")
    lock.release()
    FolderLock(tmp_path, "pod-3").release()


def test_two_folders_do_not_meet(tmp_path: Path) -> None:
    one, other = FolderLock(tmp_path / "one", "pod-1"), FolderLock(tmp_path / "other", "pod-1")
    one.release()
    other.release()
