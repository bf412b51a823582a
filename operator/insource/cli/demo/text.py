"""Steps `text` and `retrieval`: a program is continued, and sentences are ranked by their meaning."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from insource.cli.demo.scene import CODE, RETRIEVAL, Scene

PROMPT = "def add(a, b):\n    return"
MAX_TOKENS = 24
QUESTION = "When does the train leave?"
SENTENCES = (
    "The cat sleeps on the warm roof.",
    "Departures to the city are at seven and at nine.",
    "Add the flour and stir until smooth.",
)
ANSWER = 1
"""Which of the sentences is about the question: it shares no word of meaning with it."""


async def text(scene: Scene) -> None:
    """Continue a piece of code; fail if nothing comes."""
    scene.say("\n[bold]Code completion[/bold] by Gemma 3 270M, a base model much too small for work")
    client = scene.client(CODE)

    def complete() -> Any:
        return client.completions.with_raw_response.create(
            model="gpt-6-luna", prompt=PROMPT, max_tokens=MAX_TOKENS, temperature=0
        )

    raw, took_s = await scene.work("completing", complete)
    request_id, answer = scene.served(raw), raw.parse()
    written = answer.choices[0].text
    scene.console.print(PROMPT, style="dim", end="", markup=False, highlight=False)
    scene.console.print(written, style="green", markup=False, highlight=False)
    scene.say(f"{answer.usage.completion_tokens} tokens in {took_s:.2f} s")
    scene.seen["completion"] = {
        "prompt": PROMPT,
        "text": written,
        "request_id": request_id,
        "took_s": round(took_s, 3),
        "tokens": answer.usage.completion_tokens,
    }
    scene.expect(bool(written.strip()), "the completion is empty")


async def retrieval(scene: Scene) -> None:
    """Rank three sentences by their likeness to a question; fail if the one that answers it is not the first."""
    scene.say(f"\n[bold]Retrieval[/bold] by all-MiniLM-L6-v2: {QUESTION}")
    client = scene.client(RETRIEVAL)

    def embed() -> Any:
        return client.embeddings.with_raw_response.create(model="text-embedding-3-small", input=[QUESTION, *SENTENCES])

    raw, took_s = await scene.work("embedding", embed)
    request_id = scene.served(raw)
    question, *others = (each.embedding for each in raw.parse().data)
    ranked = sorted(((dot(question, each), text) for each, text in zip(others, SENTENCES, strict=True)), reverse=True)
    table = Table(box=None, pad_edge=False, show_header=False)
    for likeness, sentence in ranked:
        table.add_row(f"{likeness:6.3f}", sentence)
    scene.console.print(table)
    scene.say(f"{len(raw.parse().data)} vectors of {len(question)} numbers in {took_s:.2f} s")
    scene.seen["retrieval"] = {
        "question": QUESTION,
        "ranked": [{"likeness": round(likeness, 4), "sentence": sentence} for likeness, sentence in ranked],
        "dimensions": len(question),
        "request_id": request_id,
        "took_s": round(took_s, 3),
    }
    scene.expect(ranked[0][1] == SENTENCES[ANSWER], f"the best match is {ranked[0][1]!r}")


def dot(one: list[float], other: list[float]) -> float:
    """The inner product: the cosine, for vectors of length one."""
    return sum(a * b for a, b in zip(one, other, strict=True))
