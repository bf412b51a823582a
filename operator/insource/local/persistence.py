"""Keeps a store's objects across restarts: a snapshot and a journal of what changed since, in one directory.

Every change is a line of the journal before anybody, the writer included, hears of it; a change that cannot be
written is refused and leaves the store as it was. See `journal` for what survives what. Snapshots are fsynced and
replaced by rename.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import orjson
import structlog

from insource.local.crds import CRD_REF, kind_of
from insource.local.journal import DamagedDataError, Journal, Line, WriteTo, damaged, whole_lines
from insource.local.store import Store
from insource.local.store_errors import ApiError, bad_request
from insource.local.store_state import Change, Key

__all__ = ["JOURNAL", "SNAPSHOT", "DamagedDataError", "Persistence"]

SNAPSHOT = "snapshot.jsonl"
JOURNAL = "journal.jsonl"
COMPACT_AFTER = 20_000
"""Journal lines after which a new snapshot is written."""
VERSION_GAP = 1_000
"""Added to the resourceVersion at each restart: versions that were handed out but lost in a power cut never return."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Persistence:
    """Attached to one store; `close` it before the process ends (a kill is survived, too)."""

    def __init__(self, store: Store, directory: Path, write: WriteTo = os.write) -> None:
        """`write`: what the journal is written with (`os.write`)."""
        self._store = store
        self._directory = directory
        self._write = write
        self._lines = 0
        self._compact_at = COMPACT_AFTER
        self._journal: Journal | None = None
        self._refusing = False
        self._log = structlog.get_logger("store").bind(directory=str(directory))

    def open(self) -> None:
        """Loads what is there, then follows every change. Raises DamagedDataError; OSError if it cannot be read.

        A directory that cannot be written, such as one on a full disk, is no reason not to start: reads are answered
        and writes are refused until it can be.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        version, good_bytes = self._load()
        if version:
            self._store.state.restored(version + VERSION_GAP)
        self._journal = Journal(self._directory / JOURNAL, self._write)
        self._journal.cut(good_bytes)
        self._compact()
        self._store.state.journal = self._append
        try:
            self._store.resume()
        except ApiError as error:
            self._log.warning("what was being deleted before the restart goes on later", error=error.message)

    def close(self) -> None:
        if self._journal is not None:
            self._store.state.journal = None
            self._journal.close()
            self._journal = None

    def _load(self) -> tuple[int, int]:
        """The highest resourceVersion, and how much of the journal is good."""
        version, good_bytes = 0, 0
        for name, torn_end in ((SNAPSHOT, "damage"), (JOURNAL, "dropped")):
            path = self._directory / name
            for number, (line, end) in enumerate(whole_lines(path, torn_end=torn_end), 1):
                try:
                    version = max(version, self._restore(line))
                except (KeyError, TypeError, ValueError) as error:
                    raise damaged(path, number, f"it tells of no object ({error!r})") from error
                self._lines, good_bytes = number, end
            if name == SNAPSHOT:
                self._lines, good_bytes = 0, 0
        return version, good_bytes

    def _restore(self, line: Line) -> int:
        state = self._store.state
        version = int(line["rv"])
        if "key" not in line:
            return version
        group, plural, namespace, name = line["key"]
        key: Key = ((group, plural), namespace, name)
        known = state.find(key)
        obj = line.get("object")
        # A journal that outlived its snapshot's rename repeats old lines: the newer object stands.
        if known is not None and int(known["metadata"]["resourceVersion"]) > version:
            return version
        if obj is None:
            state.forget(key)
            if key[0] == CRD_REF and known is not None:
                self._store.kinds.remove((known["spec"]["group"], known["spec"]["names"]["plural"]))
        else:
            state.restore(key, obj)
            if key[0] == CRD_REF:
                self._store.kinds.add(kind_of(obj))
        return version

    def _append(self, change: Change) -> None:
        """Writes one change. Raises ApiError 500 if that fails: then it has not happened."""
        if self._journal is None:
            return
        (group, plural), namespace, name = change.key
        line: Line = {"rv": change.resource_version, "key": [group, plural, namespace, name]}
        if change.type != "DELETED":
            line["object"] = change.new
        try:
            text = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError as error:
            raise bad_request(f"{plural} {name!r} cannot be written as JSON: {error}") from error
        if self._lines >= self._compact_at:
            self._compact()
        try:
            self._journal.append(text)
        except OSError as error:
            refusal = _refusal(self._directory, error)
            if not self._refusing:
                self._log.error("refusing writes", error=refusal.message)
            self._refusing = True
            raise refusal from error
        if self._refusing:
            self._log.info("writes are taken again")
        self._refusing = False
        self._lines += 1

    def _compact(self) -> None:
        """A new snapshot of everything, then an empty journal. Where that fails, both stay as they were."""
        assert self._journal is not None
        fresh = self._directory / f"{SNAPSHOT}.new"
        try:
            self._write_snapshot(fresh)
            fresh.replace(self._directory / SNAPSHOT)
            self._sync_directory()
            self._journal.cut(0)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            self._compact_at = self._lines + COMPACT_AFTER
            self._log.warning("no new snapshot, the journal goes on", error=str(error), lines=self._lines)
            return
        self._lines = 0
        self._compact_at = COMPACT_AFTER

    def _write_snapshot(self, path: Path) -> None:
        state = self._store.state
        # Secrets are in it.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(orjson.dumps({"rv": state.resource_version}, option=orjson.OPT_APPEND_NEWLINE))
            for key, obj in state.everything():
                (group, plural), namespace, name = key
                line = {
                    "rv": int(obj["metadata"]["resourceVersion"]),
                    "key": [group, plural, namespace, name],
                    "object": obj,
                }
                file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            file.flush()
            os.fsync(file.fileno())

    def _sync_directory(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _refusal(directory: Path, error: OSError) -> ApiError:
    """What a client is told when its change could not be written."""
    what = error.strerror or str(error)
    do = "make room on its file system" if error.errno in _FULL else "see that it can be written"
    text = f"nothing was changed: the embedded cluster cannot write to {directory} ({what}); {do}, then try again"
    return ApiError(500, "InternalError", text)
