"""The log's two readers: one counts evidence, one ships sightings to the ledger. Each has its own checkpoint.

They are apart so that a ledger which is away stops nothing but the shipping: its reader just stays where it is. A
checkpoint is written together with what was made of the lines before it, in one atomic file; after kill -9 the
lines since are read again and give the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import structlog

from insource.env import Env
from insource.gateway.access_log import LogReader, Position
from insource.gateway.evidence import Counters
from insource.gateway.joining import Decided, Joiner
from insource.gateway.ledger_client import SightingFields
from insource.gateway.log_lines import parse_line
from insource.gateway.outcomes import was_reached
from insource.gateway.snapshot import write_private
from insource.wire.records import attempt_id
from insource.wire.vocabulary import BackendKind, Role

POLL_S = 0.2
SHIP_POLL_S = 1.0
"""A message to the ledger costs far more than a line in it, and nobody waits for sightings."""
BACKLOG_LINES = 500
"""A reading of more than this is followed by the next at once."""
COMMIT_SHARE = 20
"""A commit may take one part in this many of the time."""
MOST_SIGHTINGS = 1000
SHIP_READ_BYTES = 256 << 10
WAIT_LIMIT_MS = 2 * 3600 * 1000
"""An attempt whose request line has not come in this time is decided without it."""

_log = structlog.get_logger(__name__)
_ROLES = frozenset(role.value for role in Role)
_KINDS = frozenset(kind.value for kind in BackendKind)
Ship = Callable[[list[SightingFields]], Awaitable[bool]]
"""Sends sightings; False if they must be sent again."""


def _load(path: Path) -> dict[str, Any] | None:
    try:
        document = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError:
        _log.error("state_unreadable", path=str(path))
        return None
    return document if isinstance(document, dict) else None


def _position(document: dict[str, Any]) -> Position | None:
    return Position(**document["position"]) if document["position"] else None


def _now_ms(env: Env) -> int:
    return int(env.clock.now().timestamp() * 1000)


class EvidenceFollower:
    """Counts. `committed` is what `/evidence` shows: it never goes back, not even over kill -9."""

    def __init__(self, log: Path, state: Path, env: Env) -> None:
        self._state = state
        self._env = env
        document = _load(state)
        position = None
        self._joiner = Joiner()
        self._counters = Counters(env.ids.uuid())
        if document is not None:
            try:
                self._counters = Counters.load(document["counters"])
                self._joiner = Joiner.load(document["joiner"])
                position = _position(document)
            except (KeyError, ValueError, TypeError):
                _log.error("evidence_started_anew", path=str(state))
                self._joiner, self._counters = Joiner(), Counters(env.ids.uuid())
        self._reader = LogReader(log, position)
        self._dirty = True
        self._due = 0.0
        self.unreadable_total = 0
        self.committed = Counters.load(self._counters.dump())

    @property
    def position(self) -> Position | None:
        """How far this reader has come."""
        return self._reader.position

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            while True:
                if not self.step():
                    await self._env.clock.sleep(POLL_S)
                else:
                    await self._env.clock.sleep(0)
        finally:
            self.commit()
            self.close()

    def close(self) -> None:
        """Let go of the log."""
        self._reader.close()

    def step(self) -> bool:
        """Take in what there is, commit when due. True if there is probably more."""
        raw = self._reader.read()
        lines = [line for line in map(parse_line, raw) if line is not None]
        self.unreadable_total += len(raw) - len(lines)
        self._counters.count(self._joiner.feed(lines))
        self._counters.finish(lines)
        self._counters.count(self._joiner.expire(_now_ms(self._env) - WAIT_LIMIT_MS))
        self._dirty = self._dirty or bool(raw)
        if self._dirty and self._env.clock.monotonic() >= self._due:
            self.commit()
        return len(raw) > BACKLOG_LINES

    def commit(self) -> None:
        """Write counters, waiting attempts and position, together."""
        began = self._env.clock.monotonic()
        position = self._reader.position
        counters = self._counters.dump()
        document = {
            "counters": counters,
            "joiner": self._joiner.dump(),
            "position": {"inode": position.inode, "offset": position.offset} if position else None,
        }
        write_private(self._state, orjson.dumps(document))
        self.committed = Counters.load(counters)
        self._dirty = False
        ended = self._env.clock.monotonic()
        self._due = ended + max(POLL_S, COMMIT_SHARE * (ended - began))

    def forget(self, deployment: str) -> None:
        """The deployment has gone."""
        self._counters.forget(deployment)
        self._dirty = True


class SightingFollower:
    """Ships every decided attempt at an adapter, at least once. Its position moves only when the ledger has it."""

    def __init__(self, log: Path, state: Path, env: Env, ship: Ship) -> None:
        self._state = state
        self._env = env
        self._ship = ship
        document = _load(state)
        position = None
        self._joiner = Joiner()
        if document is not None:
            try:
                self._joiner = Joiner.load(document["joiner"])
                position = _position(document)
            except (KeyError, ValueError, TypeError):
                _log.error("sightings_started_anew", path=str(state))
                self._joiner = Joiner()
        self._reader = LogReader(log, position)
        self.position = position
        """How far the ledger has acknowledged."""
        self.shipped_total = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            while True:
                if not await self.step():
                    await self._env.clock.sleep(SHIP_POLL_S)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the log."""
        self._reader.close()

    async def step(self) -> bool:
        """Take in what there is and ship it. True if there is probably more."""
        raw = self._reader.read(SHIP_READ_BYTES)
        decided = self._joiner.feed([line for line in map(parse_line, raw) if line is not None])
        decided += self._joiner.expire(_now_ms(self._env) - WAIT_LIMIT_MS)
        sightings = [each for each in map(sighting, decided) if each]
        # Note: bounded memory. Nothing more is read before this is acknowledged.
        for start in range(0, len(sightings), MOST_SIGHTINGS):
            batch = sightings[start : start + MOST_SIGHTINGS]
            while not await self._ship(batch):
                await self._env.clock.sleep(self._env.rng.uniform(0.5, 1.5))
            self.shipped_total += len(batch)
        if raw:
            self._commit()
        return len(raw) > BACKLOG_LINES

    def _commit(self) -> None:
        position = self._reader.position
        document = {
            "joiner": self._joiner.dump(),
            "position": {"inode": position.inode, "offset": position.offset} if position else None,
        }
        write_private(self._state, orjson.dumps(document))
        self.position = position


def sighting(decided: Decided) -> SightingFields | None:
    """The attempt as the ledger wants it; None for one at the activator, where nothing is consumed."""
    attempt, outcome = decided
    if attempt.role not in _ROLES or attempt.kind not in _KINDS or not attempt.deployment:
        return None
    namespace, _, name = attempt.deployment.partition("/")
    return {
        "attempt_id": attempt_id(attempt.request_id, attempt.hop, attempt.number),
        "request_id": attempt.request_id,
        "hop": attempt.hop,
        "number": attempt.number,
        "namespace": namespace,
        "deployment": name,
        "backend": attempt.backend,
        "backend_kind": attempt.kind,
        "revision": attempt.revision,
        "vendor": attempt.vendor,
        "role": attempt.role,
        "outcome": outcome,
        "status": attempt.code,
        "flags": attempt.flags[:64],
        "reached": was_reached(attempt.code, attempt.flags),
        "started_at_ms": attempt.at_ms,
        "duration_ms": attempt.duration_ms,
    }
