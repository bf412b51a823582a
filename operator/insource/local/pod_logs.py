"""What containers have written: one file per run, each line with its time, read as `kubectl logs` asks for it.

A file's line is `<RFC 3339 time> <text>`. A reader follows through the writer's own announcements, so nothing polls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from insource.env import Clock

LARGEST_BYTES = 16 * 1024 * 1024
"""A run's file is begun anew past this size; what was before is kept once, in `.old`."""
LONGEST_LINE = 256 * 1024
KEPT_RUNS = 2
"""Files kept per container: the present run and the one before, as `logs --previous` offers."""


class RunLog:
    """The output of one run of a container."""

    def __init__(self, path: Path, clock: Clock) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.closed = False
        self._clock = clock
        self._file = path.open("ab", buffering=0)
        self._rest = b""
        self._torn = False
        self._news = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Add output as it came; a line is stored when it is complete."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        if not lines:
            return
        stamp = self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
        try:
            self._store(b"".join(stamp + b" " + line + b"\n" for line in lines))
            if self._file.tell() > LARGEST_BYTES:
                self._begin_anew()
        except OSError:
            # A full disk costs lines. The program goes on: if nobody took its output it would soon stand still.
            self._torn = True
        self._announce()

    def _store(self, text: bytes) -> None:
        rest = memoryview(b"\n" + text if self._torn else text)
        while rest:
            rest = rest[self._file.write(rest) or 0 :]
        self._torn = False

    def close(self) -> None:
        """The run is over."""
        if self.closed:
            return
        if self._rest:
            self.write(b"\n")
        self._file.close()
        self.closed = True
        self._announce()

    async def news(self) -> None:
        """Until something is written, or the run is over."""
        if not self.closed:
            await self._news.wait()

    def _announce(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _begin_anew(self) -> None:
        self._file.close()
        self.path.replace(self.path.with_suffix(".old"))
        self._file = self.path.open("ab", buffering=0)


@dataclass(frozen=True)
class LogQuery:
    """What a reader wants."""

    follow: bool = False
    tail: int | None = None
    """Only this many of the last lines."""
    timestamps: bool = False
    since: datetime | None = None
    limit_bytes: int | None = None


class ContainerLogs:
    """The runs of one container."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._current: RunLog | None = None

    def begin(self) -> RunLog:
        """The log of a new run; logs older than the run before it are forgotten."""
        numbers = self._numbers()
        self._current = RunLog(self._folder / f"{(numbers[-1] if numbers else 0) + 1}.log", self._clock)
        for number in numbers[: -(KEPT_RUNS - 1)]:
            (self._folder / f"{number}.log").unlink(missing_ok=True)
            (self._folder / f"{number}.old").unlink(missing_ok=True)
        return self._current

    def path(self, *, runs_back: int = 0) -> Path | None:
        """The file of the present (0) or previous (1) run, or None if there is none."""
        numbers = self._numbers()
        return self._folder / f"{numbers[-1 - runs_back]}.log" if len(numbers) > runs_back else None

    async def read(self, path: Path, query: LogQuery) -> AsyncIterator[bytes]:
        """The lines of one run, with their line ends; with `follow`, until that run is over."""
        log = self._current if self._current is not None and self._current.path == path else None
        left = query.limit_bytes
        with path.open("rb") as file:
            lines = [line for line in file.read().splitlines(keepends=True) if _since(line, query.since)]
            if query.tail is not None:
                lines = lines[-query.tail :] if query.tail else []
            while True:
                for line in lines:
                    text = line if query.timestamps else line.partition(b" ")[2]
                    if left is not None:
                        text, left = text[:left], left - len(text[:left])
                    if text:
                        yield text
                if not query.follow or log is None or left == 0:
                    return
                ended = log.closed
                lines = file.read().splitlines(keepends=True)
                if not lines:
                    if ended:
                        return
                    await log.news()

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob("*.log")) if self._folder.exists() else []


def _since(line: bytes, moment: datetime | None) -> bool:
    if moment is None:
        return True
    stamp = line.partition(b" ")[0].decode("ascii", "replace")
    try:
        return datetime.fromisoformat(stamp) >= moment
    except ValueError:
        return True
