"""Identifiers and random values."""

from __future__ import annotations

import random
import secrets
import uuid
from typing import Protocol

NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own alphabet for generated name suffixes: no vowels, so no words; no 0, 1, 3."""


class Ids(Protocol):
    """Where identifiers come from."""

    def uuid(self) -> str:
        """A random UUID in its usual text form."""
        ...

    def secret(self, nbytes: int = 32) -> str:
        """URL-safe text of `nbytes` random bytes, fit for a key or token."""
        ...

    def suffix(self, length: int = 5) -> str:
        """A suffix for a generated object name."""
        ...


class SystemIds:
    """Identifiers from the operating system's randomness."""

    def uuid(self) -> str:
        return str(uuid.uuid4())

    def secret(self, nbytes: int = 32) -> str:
        return secrets.token_urlsafe(nbytes)

    def suffix(self, length: int = 5) -> str:
        return "".join(secrets.choice(NAME_ALPHABET) for _ in range(length))


class SeededIds:
    """Identifiers that repeat for the same seed: for simulations, never for secrets in production."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def secret(self, nbytes: int = 32) -> str:
        return self._rng.randbytes(nbytes).hex()

    def suffix(self, length: int = 5) -> str:
        return "".join(self._rng.choice(NAME_ALPHABET) for _ in range(length))
