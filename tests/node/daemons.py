"""Programs that outlive the command that starts them. They are found again by a mark in their environment, so no file
that says which process is whose can be lost, stale, or written a moment too late."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.node.places import NodeError, Places

MARK = "INSOURCE_NODE_PROGRAM"
PATIENCE_S = 120.0
STOP_S = 10.0
_children: list[subprocess.Popen[bytes]] = []
"""Of this process; the next one is no parent of theirs and needs none of it."""


def start(places: Places, name: str, command: Sequence[str | Path], environment: Mapping[str, str]) -> int:
    """Its process id. Its words are appended to `<logs>/<name>.log`."""
    places.logs.mkdir(parents=True, exist_ok=True)
    with (places.logs / f"{name}.log").open("ab") as output:
        child = subprocess.Popen(
            [str(word) for word in command],
            cwd=places.run,
            env={**environment, MARK: f"{places.run}:{name}"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    _children.append(child)
    # Popen returns a moment before the kernel shows the environment, and who asks in between finds no such program.
    environ = Path(f"/proc/{child.pid}/environ")
    with contextlib.suppress(OSError):
        while child.poll() is None and not environ.read_bytes():
            time.sleep(0.001)
    return child.pid


def running(places: Places) -> dict[str, int]:
    """Name -> process id of every program of the node that lives."""
    for child in list(_children):
        if child.poll() is not None:
            _children.remove(child)
    return dict(_marked(places))


def _marked(places: Places) -> Iterator[tuple[str, int]]:
    wanted = f"{MARK}={places.run}:".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            mark = next(
                (each for each in (folder / "environ").read_bytes().split(b"\0") if each[: len(wanted)] == wanted), None
            )
            # A program's children inherit the mark (containerd's shims do). What we start leads a session, they do not.
            if mark is not None and os.getsid(int(folder.name)) == int(folder.name) and not _is_shim(folder):
                yield mark[len(wanted) :].decode(), int(folder.name)
        except OSError:
            continue


def _is_shim(folder: Path) -> bool:
    return (folder / "exe").readlink().name.startswith("containerd-shim")


def stop(places: Places, name: str, how: signal.Signals = signal.SIGTERM) -> bool:
    """Whether it was there. By force after ten seconds; returns when it is gone."""
    pid = running(places).get(name)
    if pid is None:
        return False
    os.kill(pid, how)
    end = time.monotonic() + STOP_S
    while _lives(pid):
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return True


def _lives(pid: int) -> bool:
    """Also while it is ending: its memory goes first, and the mark with it; its ports go last, with the last thread."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]
    except OSError:
        return Path(f"/proc/{pid}").exists()
    return states not in ([], ["Z"], ["X"])


def last_words(places: Places, name: str) -> str:
    log = places.logs / f"{name}.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    told = [line for line in lines if line[:1] in "EF" or "fatal" in line.lower() or "error" in line.lower()]
    return "\n".join((told or lines)[-5:])


def wait_until(
    places: Places, ready: Callable[[], bool], what: str, needs: Sequence[str] = (), seconds: float = PATIENCE_S
) -> None:
    """Raises NodeError when the time is over, or one of `needs` has died."""
    end = time.monotonic() + seconds
    while not ready():
        for name in needs:
            if name not in running(places):
                raise NodeError(f"{name} has ended: {last_words(places, name)}\nIts log: {places.logs / name}.log")
        if time.monotonic() > end:
            words = "\n".join(f"{name}: {last_words(places, name)}" for name in needs)
            raise NodeError(f"{what} not within {seconds:.0f} s. Logs are in {places.logs}\n{words}".rstrip())
        time.sleep(0.1)
