"""Small mounted files (tokens, keys, routes) that change under a running process. Never logs their content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from insource.env import Clock

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """A file's parsed content, read again whenever the file is another one than last time.

    A kubelet swaps mounts by symlink, so inode, size and mtime together say that it changed.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], T], missing: T, clock: Clock, look_every_s: float) -> None:
        """Looks at the file at most every `look_every_s` seconds, and only when asked for its value."""
        self._path = path
        self._clock = clock
        self._look_every_s = look_every_s
        self._look_at = float("-inf")
        self._parse = parse
        self._missing = missing
        self._seen: tuple[int, int, int] | None = None
        self._value = missing
        self.error = ""
        """Why the present content is not usable; empty when it is."""

    def value(self) -> T:
        """The present content; `missing` while the file is absent, the last good one while it is malformed."""
        now = self._clock.monotonic()
        if now < self._look_at:
            return self._value
        self._look_at = now + self._look_every_s
        try:
            stat = self._path.stat()
        except OSError as problem:
            self._seen, self._value = None, self._missing
            self.error = f"{self._path} cannot be read: {problem.strerror}"
            return self._value
        seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if seen != self._seen:
            try:
                self._value = self._parse(self._path.read_bytes())
                self.error = ""
            except (OSError, ValueError) as problem:
                self.error = f"{self._path} cannot be used: {type(problem).__name__}"
            self._seen = seen
        return self._value


def trimmed(content: bytes) -> str:
    """A text: surrounding white space is not part of it."""
    return content.decode("utf-8").strip()


def bearer(content: bytes) -> str:
    """A token or key, as a header can carry it. ValueError for more than one line or word, or other than ASCII."""
    text = trimmed(content)
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("no token")
    return text


def token_digests(content: bytes) -> frozenset[str]:
    """Lines of hex SHA-256 digests."""
    return frozenset(line.strip().lower() for line in content.decode("ascii").splitlines() if line.strip())
