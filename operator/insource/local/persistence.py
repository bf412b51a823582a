"""Keeps a store's objects across restarts: a snapshot and a journal of what changed since, in one directory.

Every change is a JSON line, written (not fsynced) before the writer gets its answer: a killed process loses nothing
that it acknowledged, a machine that loses power may lose what the page cache still held. A torn last line is what a
kill in mid-write leaves; it was never acknowledged and is dropped. Snapshots are fsynced and replaced by rename.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import orjson

from insource.local.crds import CRD_REF, kind_of
from insource.local.store import Store
from insource.local.store_errors import Object
from insource.local.store_state import Change, Key

SNAPSHOT = "snapshot.jsonl"
JOURNAL = "journal.jsonl"
COMPACT_AFTER = 20_000
"""Journal lines after which a new snapshot is written."""
VERSION_GAP = 1_000
"""Added to the resourceVersion at each restart: versions that were handed out but lost in a power cut never return."""


class DamagedDataError(Exception):
    """The files are not what this program wrote; the text names file and line."""


class Persistence:
    """Attached to one store; `close` it before the process ends (a kill is survived, too)."""

    def __init__(self, store: Store, directory: Path) -> None:
        self._store = store
        self._directory = directory
        self._lines = 0
        self._file: IO[bytes] | None = None

    def open(self) -> None:
        """Loads what is there, then follows every change. Raises DamagedDataError."""
        self._directory.mkdir(parents=True, exist_ok=True)
        version = self._load()
        if version:
            self._store.state.restored(version + VERSION_GAP)
        self._compact()
        self._store.state.journal = self._write
        self._store.resume()

    def close(self) -> None:
        if self._file is not None:
            self._store.state.journal = None
            self._file.close()
            self._file = None

    def _load(self) -> int:
        version = 0
        for line in self._read(SNAPSHOT):
            version = max(version, self._restore(line))
        for line in self._read(JOURNAL):
            version = max(version, self._restore(line))
        return version

    def _restore(self, line: Object) -> int:
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

    def _read(self, name: str) -> Iterator[Object]:
        path = self._directory / name
        if not path.exists():
            return
        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                if number == len(lines) and name == JOURNAL:
                    return  # torn: no line end, so never acknowledged
                text = f"{path}, line {number} is damaged ({error}); restore the file, or remove it to start empty"
                raise DamagedDataError(text) from error

    def _write(self, change: Change) -> None:
        if self._file is None:
            return
        (group, plural), namespace, name = change.key
        line: Object = {"rv": change.resource_version, "key": [group, plural, namespace, name]}
        if change.type != "DELETED":
            line["object"] = change.new
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        self._file.flush()
        self._lines += 1
        if self._lines >= COMPACT_AFTER:
            self._compact()

    def _compact(self) -> None:
        """A new snapshot of everything, then an empty journal."""
        state = self._store.state
        path = self._directory / SNAPSHOT
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
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
        fresh.replace(path)
        self._sync_directory()
        if self._file is not None:
            self._file.close()
        self._file = (self._directory / JOURNAL).open("wb")
        self._lines = 0

    def _sync_directory(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
