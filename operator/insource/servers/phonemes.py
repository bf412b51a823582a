"""Text to phonemes, by espeak-ng in a process of its own (`espeak_program`): started here, asked, and started again.

espeak-ng is under the GPL-3; this process never loads it. A child that dies, hangs or answers nonsense is ended, and
the text is asked of a new one, once.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import select
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from insource.env.clock import Clock, SystemClock
from insource.servers.model_files import ModelUnavailableError

log = structlog.get_logger("insource.servers")

PACKAGE = "espeakng_loader"
PROGRAM = Path(__file__).with_name("espeak_program.py")
START_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 10.0
"""For one clause, which takes a millisecond."""
LONGEST_ANSWER = 1 << 20
LANGUAGE_SWITCH = re.compile(r"\([a-z]{2,3}(?:-[a-z0-9]+)*\)")
"""espeak-ng marks words that it takes for another language: `(fr)...(en-us)`."""


class PhonemesUnavailableError(Exception):
    """espeak-ng failed twice on the same text."""


class _ChildFailedError(Exception):
    """The child has ended, hangs, or broke the protocol."""


def espeak_command(voice: str) -> list[str]:
    """What starts the child for espeak-ng's `voice`. Raises `ModelUnavailableError` if the package is not there."""
    spec = importlib.util.find_spec(PACKAGE)  # found, not imported
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    library = next(iter(sorted(folder.glob("*espeak-ng.*"))), None) if folder is not None else None
    if folder is None or library is None:
        raise ModelUnavailableError("espeak-ng is not installed; pip install espeakng-loader")
    return [sys.executable, "-I", "-S", str(PROGRAM), str(library), str(folder / "espeak-ng-data"), voice]


class Phonemiser:
    """espeak-ng as a child process; may be asked from several threads, one after the other."""

    def __init__(self, command: Sequence[str], clock: Clock | None = None) -> None:
        """Start it. Raises `ModelUnavailableError` if it does not come up."""
        self._command = list(command)
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._child: _Child | None = None
        try:
            self._child = _Child(self._command, self._clock.monotonic)
        except _ChildFailedError as error:
            raise ModelUnavailableError(f"espeak-ng does not start: {error}") from error

    def phonemes(self, text: str) -> str:
        """One clause in the IPA, words apart by spaces; empty if nothing in it is spoken.

        Raises `PhonemesUnavailableError` if a second child fails on it, too.
        """
        with self._lock:
            try:
                answer = self._ask(text)
            except _ChildFailedError as error:
                log.warning("espeak_restarted", problem=str(error))
                try:
                    answer = self._ask(text)
                except _ChildFailedError as again:
                    raise PhonemesUnavailableError(f"espeak-ng failed twice: {again}") from again
        return " ".join(LANGUAGE_SWITCH.sub("", answer).split())

    def close(self) -> None:
        """End the child."""
        with self._lock:
            if self._child is not None:
                self._child.end()
                self._child = None

    @property
    def pid(self) -> int | None:
        """The child's process id, if there is a child."""
        return self._child.pid if self._child is not None else None

    def _ask(self, text: str) -> str:
        if self._child is None:
            self._child = _Child(self._command, self._clock.monotonic)
        try:
            return self._child.ask(text)
        except _ChildFailedError:
            self._child.end()
            self._child = None
            raise


class _Child:
    """One process. Every failure is a `_ChildFailedError`, after which it must be ended."""

    def __init__(self, command: Sequence[str], monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        # A group of its own: the terminal's Ctrl-C is for the server, which ends it when its last request is done.
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, process_group=0
            )
        except OSError as error:  # no such program, or no room for one more process
            raise _ChildFailedError(f"{command[0]}: {error.strerror}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._to, False)
        try:
            self._receive(START_TIMEOUT_S)
        except _ChildFailedError:
            self.end()
            raise

    def ask(self, text: str) -> str:
        message = text.encode("utf-8", "replace")
        self._send(struct.pack(">I", len(message)) + message, ANSWER_TIMEOUT_S)
        try:
            return self._receive(ANSWER_TIMEOUT_S).decode()
        except UnicodeDecodeError as error:
            raise _ChildFailedError("its answer is not UTF-8") from error

    def end(self) -> None:
        """Kill it: it has nothing to lose, and a hung one would not heed its closed input."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _send(self, message: bytes, timeout_s: float) -> None:
        deadline = self._monotonic() + timeout_s
        left = memoryview(message)
        while left:
            self._wait(self._to, select.POLLOUT, deadline)
            try:
                left = left[os.write(self._to, left) :]
            except BlockingIOError:
                continue  # there was room, but not enough
            except OSError as error:
                raise _ChildFailedError(f"it has ended ({error.strerror})") from error

    def _receive(self, timeout_s: float) -> bytes:
        deadline = self._monotonic() + timeout_s
        (length,) = struct.unpack(">I", self._read(4, deadline))
        if length > LONGEST_ANSWER:
            raise _ChildFailedError(f"it announces an answer of {length} bytes")
        return self._read(length, deadline)

    def _read(self, length: int, deadline: float) -> bytes:
        received = bytearray()
        while len(received) < length:
            self._wait(self._from, select.POLLIN, deadline)
            piece = os.read(self._from, length - len(received))
            if not piece:
                raise _ChildFailedError("it has ended")
            received += piece
        return bytes(received)

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(max(0.0, deadline - self._monotonic()) * 1000):
            raise _ChildFailedError("it does not answer")
