"""Which event loops a module's tests run on: those it names in `LOOP_FACTORIES`, or asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    module = getattr(item, "module", None)
    return getattr(module, "LOOP_FACTORIES", None) or {"asyncio": asyncio.new_event_loop}
