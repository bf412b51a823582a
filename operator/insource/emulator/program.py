"""Any of the emulators as a program, and several in one."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack

import structlog
from aiohttp import web

from insource.emulator.settings import EmulatorSettings
from insource.env import Env, system_env

log = structlog.get_logger("insource.emulator")


def application(settings: EmulatorSettings, env: Env) -> web.Application:
    """The vendor that `settings` names; the others are not imported. Raises `ValueError` for wrong settings."""
    match settings.vendor:
        case "openai":
            from insource.emulator.openai import openai_application

            return openai_application(settings, env)
        case "azure-openai":
            from insource.emulator.azure_openai import azure_openai_application

            return azure_openai_application(settings, env)
        case "azure-speech":
            from insource.emulator.azure_speech import azure_speech_application

            return azure_speech_application(settings, env)
        case "azure-images":
            from insource.emulator.azure_images import azure_images_application

            return azure_images_application(settings, env)


def run_emulator(*vendors: EmulatorSettings) -> None:
    """Serve each of them, at its own address, until SIGTERM or SIGINT.

    Raises `OSError` if an address is taken, `ValueError` for wrong settings.
    """
    with asyncio.Runner() as runner:
        runner.run(_serve(vendors))


async def _serve(vendors: Sequence[EmulatorSettings]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as running:
        for settings in vendors:
            await _start(settings, running)
        await stop.wait()


async def _start(settings: EmulatorSettings, running: AsyncExitStack) -> None:
    host, _, port = settings.listen.rpartition(":")
    if host != "localhost" and not ipaddress.ip_address(host.strip("[]")).is_loopback:
        raise ValueError(f"--listen {settings.listen}: the emulator listens on loopback only, such as 127.0.0.1:0")
    app = application(settings, system_env())
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=5.0, access_log=None)
    await runner.setup()
    running.push_async_callback(runner.cleanup)
    listener = socket.create_server((host.strip("[]"), int(port)), backlog=1024)
    await web.SockSite(runner, listener).start()
    log.info("listening", host=host, port=listener.getsockname()[1], vendor=settings.vendor, engine=settings.engine)
