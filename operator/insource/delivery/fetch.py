"""Brings all wanted files into a folder: tries again, goes on where it was, checks, and gives up with a reason.

Level-triggered: what is there and right is left alone, so it may be killed and run again at any time.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, repeat

import structlog

from insource.delivery.attempts import Attempts, Download
from insource.delivery.files import Part, alone, check_room, digest_of, is_full, no_room, sized, stored
from insource.delivery.listing import listed
from insource.delivery.problems import DeliveryError, TransientError
from insource.delivery.transfer import Answer, opened, shown, transient
from insource.wire.delivery import Wanted, WantedFile, WantedTree

TURN_EVERY_S = 1.0
"""How often it is looked whether another replica has done with the volume."""
PROGRESS_EVERY_S = 10.0
BLOCK = 256 * 1024

log = structlog.get_logger("insource.delivery")


def fetch(items: Iterable[Wanted], download: Download) -> None:
    """All files are there and right when it returns. Raises `DeliveryError`; then none that is wrong is there."""
    deadline_s = download.env.clock.monotonic() + download.limit_s
    try:
        firsts = chain([True], repeat(False))
        with alone(download.into, lambda: _wait_for_turn(download, deadline_s, first=next(firsts))):
            for item in items:
                files = listed(item, download, deadline_s) if isinstance(item, WantedTree) else (item,)
                for wanted in files:
                    _Fetching(wanted, download, deadline_s).run()
    except OSError as error:
        raise DeliveryError(f"{error.filename or download.into}: {error.strerror or error}") from error


def _wait_for_turn(download: Download, deadline_s: float, *, first: bool) -> None:
    if download.env.clock.monotonic() >= deadline_s:
        raise DeliveryError(
            f"another replica has been downloading into the same volume for {download.limit_s:g} s; "
            "raise the backend's startupTimeout if the model is that large"
        )
    if first:
        log.info("waiting_for_another_replica", folder=str(download.into))
    download.pause(TURN_EVERY_S)


class _Fetching:
    """One file's way here."""

    def __init__(self, wanted: WantedFile, download: Download, deadline_s: float) -> None:
        self._wanted = wanted
        self._download = download
        self._clock = download.env.clock
        self._target = download.into / wanted.path
        self._log = log.bind(file=wanted.path, source=shown(wanted.url))
        self._attempts = Attempts(wanted.path, download, deadline_s, self._log)

    def run(self) -> None:
        wanted = self._wanted
        if self._is_there():
            self._log.info("already_there")
            return
        self._target.unlink(missing_ok=True)
        part = Part(self._target, wanted.url)
        continued = part.size > 0
        if continued:
            self._log.info("going_on", have=part.size)
        self._download_all(part)
        found = part.sha256.hexdigest()
        if wanted.sha256 and found != wanted.sha256 and continued:
            # Perhaps only the old part was wrong: it was written by a run that did not live to check it.
            self._log.warning("continued_file_is_wrong", found=found)
            part.discard()
            self._download_all(part)
            found = part.sha256.hexdigest()
        if wanted.sha256 and found != wanted.sha256:
            part.discard()
            raise DeliveryError(
                f"{wanted.path}: expected SHA-256 {wanted.sha256}, found {found} at {shown(wanted.url)}; it was "
                "removed: correct the CatalogModel's sha256 if the new file is wanted, or the source"
            )
        if wanted.size is not None and part.size != wanted.size:
            size = part.size
            part.discard()
            raise DeliveryError(
                f"{wanted.path}: {shown(wanted.url)} was listed with {wanted.size} bytes and has {size}: it changed "
                "meanwhile, or it is compressed at the source; it was removed and is asked for again"
            )
        part.finish()
        self._log.info("fetched", size=part.size, sha256=found)

    def _is_there(self) -> bool:
        """Without a digest, a file's name is proof enough: it only gets it when it is whole."""
        if not self._wanted.sha256:
            return stored(self._target, self._wanted.size)
        return digest_of(self._target) == self._wanted.sha256

    def _download_all(self, part: Part) -> None:
        while True:
            before = part.size
            try:
                if self._attempt(part):
                    return
                raise TransientError(f"{shown(self._wanted.url)}: the connection ended too early")
            except TransientError as error:
                self._attempts.failed(error, progressed=part.size > before, have=part.size)
                self._check_time(part, None)

    def _attempt(self, part: Part) -> bool:
        """Ask for what is missing, once; True when the file is whole."""
        url, wanted = self._wanted.url, self._wanted
        # A part can be continued if the source can tell that the file is the same, or if the digest will.
        offset = part.size if part.validator or wanted.sha256 else 0
        access, reach = self._download.credentials, self._download.reach
        query = access.version(wanted.version)
        with opened(url, offset, part.validator, access, reach, query) as answer:
            if answer.body.status == 416:
                if not offset:
                    raise TransientError(f"{shown(url)}: HTTP 416 to a request for the whole file")
                if answer.size == part.size:
                    return True
                part.discard()
                return self._attempt(part)
            if answer.start and part.validator and answer.validator not in ("", part.validator):
                # Not every store knows If-Range (S3's documents do not): this is the rest of another file.
                part.discard()
                return self._attempt(part)
            self._take(part, answer)
            return part.size == answer.size if answer.size is not None else answer.body.isclosed()

    def _take(self, part: Part, answer: Answer) -> None:
        if answer.size is not None:
            check_room(self._target, answer.size - answer.start)
        try:
            with part.begin(answer.start, answer.validator or (part.validator if answer.start else "")) as file:
                self._copy(part, answer, file)
        except OSError as error:
            if not is_full(error):
                raise DeliveryError(f"{self._target}: {error.strerror or error}") from error
            missing = answer.size - part.size if answer.size is not None else None
            part.discard()  # a full volume is others' trouble, too
            raise DeliveryError(no_room(self._target, missing)) from error

    def _copy(self, part: Part, answer: Answer, file: object) -> None:
        told_s = self._clock.monotonic()
        self._log.info("fetching", start=answer.start, size=answer.size)
        while True:
            with transient(self._wanted.url):
                data = answer.body.read1(BLOCK)
            if not data:
                return
            part.add(file, data)  # type: ignore[arg-type]
            now_s = self._clock.monotonic()
            if now_s - told_s >= PROGRESS_EVERY_S:
                told_s = now_s
                self._log.info("progress", have=part.size, size=answer.size)
            self._check_time(part, answer.size)

    def _check_time(self, part: Part, size: int | None) -> None:
        if not self._attempts.late:
            return
        of = f" of {sized(size)}" if size is not None else ""
        why = f" (last: {self._attempts.last_words})" if self._attempts.last_words else ""
        raise DeliveryError(
            f"{self._wanted.path}: not here after {self._download.limit_s:g} s, {sized(part.size)}{of} have come{why}; "
            "the next try goes on from there: raise the backend's startupTimeout if the model is that large"
        )
