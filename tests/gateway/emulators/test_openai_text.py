"""The emulated completions, chats, embeddings and models by the OpenAI SDK: streams, stops, refusals, the bill."""

from __future__ import annotations

import math
from typing import Any

import openai
import pytest

from tests.gateway.emulator_harness import items, meter

pytestmark = pytest.mark.gateway


MESSAGES: Any = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "one two "}, {"type": "text", "text": "three"}]},
]
PROMPT_TOKENS = 3 + 3 + 2 * 4 + 3  # the texts' tokens, four for each message, three for the chat


async def test_chat(sdk: openai.AsyncOpenAI, url: str) -> None:
    made = await sdk.chat.completions.create(model="gpt-6-luna", messages=MESSAGES)
    [choice] = made.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Echo: one two three")
    assert choice.finish_reason == "stop"
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (PROMPT_TOKENS, 5)
    assert made.usage.total_tokens == PROMPT_TOKENS + 5
    short = await sdk.chat.completions.create(model="gpt-6-luna", messages=MESSAGES, max_completion_tokens=3, n=2)
    assert [c.message.content for c in short.choices] == ["Echo: one", "Echo 2:"]
    assert [c.finish_reason for c in short.choices] == ["length", "length"]
    stopped = await sdk.chat.completions.create(model="gpt-6-luna", messages=MESSAGES, stop=["zzz", " three"])
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("Echo: one two", "stop")
    bill = await meter(url)
    assert [items(line) for line in bill["lines"]] == [
        {"input_tokens": PROMPT_TOKENS, "output_tokens": count} for count in (5, 6, 4)
    ]
    assert sum(line["nano_usd"] for line in bill["lines"]) == 3 * PROMPT_TOKENS * 100 + 15 * 500


async def test_a_streamed_chat_is_the_same_and_says_its_usage_when_asked(sdk: openai.AsyncOpenAI, url: str) -> None:
    create = sdk.chat.completions.create
    stream = await create(model="gpt-6-luna", messages=MESSAGES, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Echo: one two three"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert {chunk.usage for chunk in chunks} == {None}
    stream = await create(
        model="gpt-6-luna", messages=MESSAGES, n=2, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (PROMPT_TOKENS, 5 + 6)
    texts = ["", ""]
    for chunk in chunks[:-1]:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == ["Echo: one two three", "Echo 2: one two three"]
    assert [items(line)["output_tokens"] for line in (await meter(url))["lines"]] == [5, 11]


async def test_completions(sdk: openai.AsyncOpenAI, url: str) -> None:
    create = sdk.completions.create
    made = await create(model="gpt-3.5-turbo-instruct", prompt=["a b", "c"], n=2)
    assert [choice.text for choice in made.choices] == ["Echo: a b", "Echo 2: a b", "Echo: c", "Echo 2: c"]
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (3, 4 + 5 + 3 + 4)
    echoed = await create(model="gpt-3.5-turbo-instruct", prompt="def f(x):\n", echo=True, max_tokens=2)
    assert (echoed.choices[0].text, echoed.choices[0].finish_reason) == ("def f(x):\nEcho:", "length")
    stream = await create(
        model="gpt-3.5-turbo-instruct", prompt="a b", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == "Echo: a b"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 4
    bill = await meter(url)
    assert bill["units"] == {"input_tokens": 3 + 7 + 2, "output_tokens": 16 + 2 + 4}
    assert sum(line["nano_usd"] for line in bill["lines"]) == 12 * 1500 + 22 * 2000


async def test_embeddings(sdk: openai.AsyncOpenAI, url: str) -> None:
    create = sdk.embeddings.create
    coded = await create(model="text-embedding-3-small", input=["the red house", "the red barn", "quantum"])
    plain = await create(model="text-embedding-3-small", input="the red house", encoding_format="float")
    vectors = [entry.embedding for entry in coded.data]
    assert {len(vector) for vector in vectors} == {1536}
    assert vectors[0] == pytest.approx(plain.data[0].embedding)
    for vector in vectors:
        assert math.sqrt(sum(x * x for x in vector)) == pytest.approx(1)
    near, far = (sum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors[1:])
    assert near > 0.5 > far
    short = await create(model="text-embedding-3-small", input="the red house", dimensions=8)
    scale = math.sqrt(sum(x * x for x in vectors[0][:8]))
    assert short.data[0].embedding == pytest.approx([x / scale for x in vectors[0][:8]], abs=1e-6)
    bill = await meter(url)
    assert [items(line)["input_tokens"] for line in bill["lines"]] == [8, 3, 3]
    assert [line["nano_usd"] for line in bill["lines"]] == [160, 60, 60]


async def test_what_the_vendor_refuses(sdk: openai.AsyncOpenAI, url: str) -> None:
    chats: list[tuple[dict[str, Any], str]] = [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
        ({"model": "gpt-5-nano", "max_tokens": 5}, "max_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tools": []}, "tools"),
        ({"model": "gpt-3.5-turbo-instruct"}, "model"),
    ]
    for extra, param in chats:
        with pytest.raises(openai.BadRequestError) as refused:
            await sdk.chat.completions.create(**{"model": "gpt-6-luna", "messages": MESSAGES, **extra})
        assert refused.value.param == param
    vectors: list[tuple[dict[str, Any], str]] = [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": "a " * 8193}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 1537}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
    ]
    for extra, param in vectors:
        with pytest.raises(openai.BadRequestError) as wrong:
            await sdk.embeddings.create(**{"model": "text-embedding-3-small", "input": "a", **extra})
        assert wrong.value.param == param
    assert (await meter(url))["requests"] == 0


async def test_models_say_when_they_go(sdk: openai.AsyncOpenAI) -> None:
    dates = {model.id: model.shutdown_date async for model in sdk.models.list()}
    assert dates["tts-1"] == "2027-01-06"
    assert dates["whisper-1"] == "2027-02-26"
    assert dates["gpt-6-luna"] is None
    assert (await sdk.models.retrieve("gpt-image-1-mini")).shutdown_date == "2026-12-01"
    with pytest.raises(openai.NotFoundError) as refused:
        await sdk.models.retrieve("gpt-1")
    assert refused.value.code == "model_not_found"
