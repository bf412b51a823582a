"""Loopback addresses for pods: every cluster on this machine has its own 127.a.b.0/24, every pod its own address.

Linux answers on all of 127.0.0.0/8 with no set-up. A cluster holds its block by a bound
port, so that two never share one.
"""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from insource.env import Env

CLAIM_PORT = 10250
"""Bound on 127.a.b.1 for as long as the cluster runs; the kubelet's own port."""
FIRST, LAST = 2, 254
TRIES = 200


class NoAddressError(Exception):
    """No block, or no address in the block, is free; the message says what to do."""


class AddressBlock:
    """The addresses of one cluster. Close it to let the block go."""

    def __init__(self, prefix: str, claim: socket.socket) -> None:
        self.prefix = prefix
        """`127.a.b`."""
        self._claim = claim
        self._held: set[str] = set()
        self._next = FIRST

    @classmethod
    def claim(cls, memory: Path, env: Env) -> AddressBlock:
        """The block named in the file `memory` if it is free, else a free one at random, which the file then names.

        Raises `NoAddressError` if there is none, which means that another program holds port 10250 everywhere.
        """
        remembered = memory.read_text().strip() if memory.exists() else ""
        candidates = [remembered] if remembered else []
        candidates += [f"127.{env.rng.randint(16, 239)}.{env.rng.randint(0, 255)}" for _ in range(TRIES)]
        for prefix in candidates:
            claim = _bind(f"{prefix}.1")
            if claim is not None:
                memory.write_text(prefix + "\n")
                return cls(prefix, claim)
        raise NoAddressError(
            f"no free 127.a.b.0/24 for the pods: port {CLAIM_PORT} is taken on every address tried; "
            f"stop the program that listens on 0.0.0.0:{CLAIM_PORT} (a kubelet?)"
        )

    @property
    def node(self) -> str:
        """The node's own address."""
        return f"{self.prefix}.1"

    def take(self, wanted: str = "") -> str:
        """An address that no pod holds: `wanted` if it is free and of this block, else the one unused for longest.

        Raises `NoAddressError` if all are held.
        """
        if wanted.startswith(self.prefix + ".") and wanted != self.node and wanted not in self._held:
            self._held.add(wanted)
            return wanted
        for _ in range(FIRST, LAST + 1):
            address = f"{self.prefix}.{self._next}"
            # Note: round robin, so that traffic still on its way to a dead pod does not meet a new one.
            self._next = self._next + 1 if self._next < LAST else FIRST
            if address not in self._held:
                self._held.add(address)
                return address
        raise NoAddressError(f"all {LAST - FIRST + 1} pod addresses of {self.prefix}.0/24 are held: delete some pods")

    def give_back(self, address: str) -> None:
        """The pod that held it is gone."""
        self._held.discard(address)

    def close(self) -> None:
        self._claim.close()


def _bind(address: str) -> socket.socket | None:
    claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        claim.bind((address, CLAIM_PORT))
        # A bound port that does not listen still refuses a second bind, and answers nobody.
    except OSError as error:
        claim.close()
        if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
            return None
        raise
    return claim
