"""The emulated OpenAI, which most of these tests ask; a test of another vendor has a `url` of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import openai
import pytest

from tests.gateway.emulator_harness import KEY, emulator


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with emulator(tmp_path, "openai") as found:
        yield found


@pytest.fixture
async def sdk(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def client(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url, headers={"authorization": f"Bearer {KEY}"}) as session:
        yield session
