"""An event loop in a thread of its own, for what must go on while a test waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
PATIENCE_S = 30.0


@contextmanager
def loop_in_thread(name: str) -> Iterator[Run[Any]]:
    """A function that runs a coroutine there and answers what it returns; raises what it raises."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name=name, daemon=True)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(PATIENCE_S)
        asyncio.run_coroutine_threadsafe(_closed(loop), loop).result(PATIENCE_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        loop.close()


async def _closed(loop: asyncio.AbstractEventLoop) -> None:
    """Until no connection is left but the loop's own: one that is closed over TLS takes a moment to say so."""
    end = loop.time() + PATIENCE_S / 2
    while len(loop._selector.get_map()) > 1:  # type: ignore[attr-defined]
        assert loop.time() < end, "a connection was left open"
        await asyncio.sleep(0.01)
