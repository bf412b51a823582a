"""How the agent ends: at a signal it says farewell and goes, whatever becomes of the farewell."""

import asyncio
import os
import signal

import pytest
from structlog.testing import capture_logs

from insource.gateway.agent import until_signal


def send() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def forever() -> None:
    send()
    await asyncio.Event().wait()


async def test_it_runs_until_its_farewell_is_said() -> None:
    said = []

    async def farewell() -> None:
        said.append("bye")

    await asyncio.wait_for(until_signal(forever, farewell), 30)
    assert said == ["bye"]


async def test_a_second_signal_cuts_the_farewell_short() -> None:
    async def farewell() -> None:
        send()
        await asyncio.Event().wait()

    await asyncio.wait_for(until_signal(forever, farewell), 30)


async def test_a_farewell_that_fails_is_told() -> None:
    async def farewell() -> None:
        raise OSError("no space left")

    with capture_logs() as logs:
        await asyncio.wait_for(until_signal(forever, farewell), 30)
    assert [(each["event"], each["error"]) for each in logs] == [("farewell_failed", "OSError: no space left")]


async def test_what_ends_a_run_ends_the_program() -> None:
    async def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await asyncio.wait_for(until_signal(broken), 30)
