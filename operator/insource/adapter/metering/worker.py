"""The measuring process: a line with a path in, a line of JSON out, until its standard input ends.

A process of its own, so that a file made to crash or exhaust a native parser takes only this process with it, and so
that no measurement holds up the event loop. It ends by itself when the adapter does, even by kill -9.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import av.logging
import orjson

from insource.adapter.metering.audio import measure
from insource.adapter.metering.measured import NotAudio
from insource.adapter.metering.wav import correct_sizes

MEMORY_LIMIT_BYTES = 2 << 30


def answer(path: Path) -> dict[str, int | str]:
    """`{"audio_ms", "extension"}`, or `{"error"}` fit for a client."""
    try:
        correct_sizes(path)
        measured = measure(path)
    except NotAudio as problem:
        return {"error": str(problem)}
    except OSError as problem:
        return {"error": f"it cannot be read ({problem.strerror})"}
    return {"audio_ms": measured.audio_ms, "extension": measured.extension}


def main() -> None:
    """Serve until end of input."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    av.logging.set_level(av.logging.PANIC)
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(orjson.dumps(answer(Path(line.decode().rstrip("\n")))) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
