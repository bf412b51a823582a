"""Reads Envoy's log once: counts evidence, and puts sightings into the outbox. Ships nothing.

What was made of the lines so far is committed in one atomic file, together with the position in the log and the mark
in the outbox; after kill -9 the lines since are read again and give the same.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson
import structlog

from insource.env import Env
from insource.gateway.access_log import LogReader, Position
from insource.gateway.evidence import Counters
from insource.gateway.joining import Joiner
from insource.gateway.log_lines import parse_lines
from insource.gateway.outbox import Mark, Outbox
from insource.gateway.sightings import encode_sighting
from insource.gateway.snapshot import write_private

POLL_S = 0.2
READ_BYTES = 256 << 10
COMMIT_SHARE = 20
"""A commit may take one part in this many of the time."""
WAIT_LIMIT_MS = 2 * 3600 * 1000
"""An attempt whose request line has not come in this time is decided without it."""

_log = structlog.get_logger(__name__)


class Follower:
    """The log's one reader. `committed` is what `/evidence` shows: it never goes back, not even over kill -9."""

    def __init__(self, log: Path, state: Path, outbox: Path, env: Env) -> None:
        self._state = state
        self._env = env
        self._joiner = Joiner()
        self._counters = Counters(env.ids.uuid())
        position, mark = None, None
        document = load_state(state)
        if document is not None:
            try:
                counters = Counters.load(document["counters"])
                joiner = Joiner.load(document["joiner"])
                position = Position(**document["position"]) if document["position"] else None
                mark = Mark(**document["outbox"])
                self._counters, self._joiner = counters, joiner
            except (KeyError, ValueError, TypeError):
                position, mark = None, None
                _log.error("evidence_started_anew", path=str(state))
        self._reader = LogReader(log, position)
        self.outbox = Outbox(outbox, mark)
        self._dirty = True
        self._due = 0.0
        self.unreadable_total = 0
        self._publish(position)

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            while True:
                await self._env.clock.sleep(0 if self.step() else POLL_S)
        finally:
            self.commit()
            self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()
        self.outbox.close()

    def step(self) -> bool:
        """Take in what there is, commit when due. True if there is probably more."""
        piece = self._reader.read(READ_BYTES)
        more = len(piece) > READ_BYTES // 2
        lines, unreadable = parse_lines(piece)
        self.unreadable_total += unreadable
        decided = self._joiner.feed(lines)
        if not more:
            decided += self._joiner.expire(int(self._env.clock.now().timestamp() * 1000) - WAIT_LIMIT_MS)
        self._counters.finish(lines)
        self._dirty = self._dirty or bool(piece)
        if decided:
            self._counters.count(decided)
            self.outbox.append([line for line in map(encode_sighting, decided) if line is not None])
            self._dirty = True
        if self._dirty and self._env.clock.monotonic() >= self._due:
            self.commit()
        return more

    async def finish(self) -> None:
        """Envoy has gone: take in the rest of its log, decide what waits for a line that will not come, and commit."""
        while self.step():
            await self._env.clock.sleep(0)
        decided = self._joiner.expire(sys.maxsize)
        self._counters.count(decided)
        self.outbox.append([line for line in map(encode_sighting, decided) if line is not None])
        self.commit()

    def commit(self) -> None:
        """Write counters, waiting attempts, position and mark, together."""
        began = self._env.clock.monotonic()
        position, mark = self._reader.position, self.outbox.end
        document = {
            "counters": self._counters.dump(),
            "joiner": self._joiner.dump(),
            "position": {"inode": position.inode, "offset": position.offset} if position else None,
            "outbox": {"segment": mark.segment, "offset": mark.offset},
        }
        write_private(self._state, orjson.dumps(document))
        self._dirty = False
        self._publish(position)
        ended = self._env.clock.monotonic()
        self._due = ended + max(POLL_S, COMMIT_SHARE * (ended - began))

    def forget(self, deployment: str) -> None:
        """The deployment has gone."""
        self._counters.forget(deployment)
        self._dirty = True

    def _publish(self, position: Position | None) -> None:
        self.committed = self._counters.copy()
        self.position = position
        """How far the log is not needed any more."""
        self.mark = self.outbox.end
        """How far the outbox may be shipped."""


def load_state(path: Path) -> dict[str, Any] | None:
    """A checkpoint; None if there is none, or if it cannot be read."""
    try:
        document = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError:
        _log.error("state_unreadable", path=str(path))
        return None
    return document if isinstance(document, dict) else None
