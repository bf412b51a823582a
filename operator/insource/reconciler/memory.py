"""What the process asks of the collector and of the allocator, so that it stays small and never stops for long."""

from __future__ import annotations

import ctypes
import gc
import resource
from pathlib import Path

from insource.env import Clock

_COLLECT = (50_000, 20, 50)
"""The collector's thresholds: what we make by the thousand (objects read off the wire) has no cycles."""
_EVERY_S = 20.0
_GROWN_BYTES = 1 << 20
"""What is not worth a walk through the heap, which costs 5 ms and more."""


def collect_seldom() -> None:
    """From the start: full collections while the first lists are read cost more than reading them."""
    gc.set_threshold(*_COLLECT)


def keep_what_is_there() -> None:
    """Keep the collector off what stays: a full collection walks every object and stops everything meanwhile."""
    gc.collect()
    gc.freeze()


async def give_back(clock: Clock) -> None:
    """Return freed memory to the system now and then, until cancelled.

    The bodies of a first list lie between objects that stay: by itself glibc gives none of it back.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:  # another libc
        return
    after_last = 0
    while True:
        await clock.sleep(_EVERY_S)
        if resident_bytes() > after_last + _GROWN_BYTES:
            trim(0)
            after_last = resident_bytes()


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
