"""Between HTTP and a language model: blocking generations in worker threads, as one async iterator that can be left.

Leaving it (the client went away) ends each generation before its next token, or its next stretch of prompt.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Protocol

from insource.servers.text_requests import Message, Sampling


class ContextLengthError(Exception):
    """The prompt does not fit the context; the text says how long it is and how long it may be."""


class PromptRefusedError(Exception):
    """The engine refused the prompt for another reason, which is the text."""


@dataclass(frozen=True)
class Task:
    """One text to generate, as choice `index` of its request: after `prompt`, or as the answer to `messages`."""

    index: int
    sampling: Sampling
    prompt: str = ""
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Piece:
    """The next stretch of the text of choice `index`."""

    index: int
    text: str


@dataclass(frozen=True)
class Finish:
    """The end of choice `index`, with the tokens counted by the model's tokenizer."""

    index: int
    reason: str
    """stop or length."""
    prompt_tokens: int
    completion_tokens: int


Emit = Callable[[Piece | Finish | None], bool]
"""Takes the next item, or None if there is none yet; True: nobody wants the rest."""


class LanguageModel(Protocol):
    """A model that goes on with text; called from worker threads, as many at once as there are slots."""

    context_tokens: int
    """Prompt and completion together [tokens]."""

    def generate(self, task: Task, emit: Emit) -> None:
        """Give all pieces and the finish to `emit`. Raises `ContextLengthError` and `PromptRefusedError`, first."""
        ...


class Generations:
    """The tasks of one request in their worker threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tasks: int) -> None:
        self._loop = loop
        self._left = threading.Event()
        self._unfinished = tasks
        self._queue: asyncio.Queue[Piece | Finish | Exception] = asyncio.Queue()

    async def items(self) -> AsyncIterator[Piece | Finish]:
        """Pieces as they are generated, those of several choices between each other. Raises what the model raised."""
        while self._unfinished:
            item = await self._queue.get()
            if isinstance(item, Exception):
                raise item
            self._unfinished -= isinstance(item, Finish)
            yield item

    def work(self, model: LanguageModel, task: Task) -> None:
        """Run in a worker thread."""
        finished = False

        def emit(item: Piece | Finish | None) -> bool:
            nonlocal finished
            if item is not None:
                finished = isinstance(item, Finish)
                self._post(item)
            return self._left.is_set()

        if self._left.is_set():
            return
        try:
            model.generate(task, emit)
            if not finished and not self._left.is_set():
                raise RuntimeError("the engine ended without a finish")
        except Exception as error:
            self._post(error)

    def leave(self) -> None:
        """Nobody wants the rest."""
        self._left.set()

    def _post(self, item: Piece | Finish | Exception) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone: the program ends
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)


@contextlib.asynccontextmanager
async def generating(model: LanguageModel, tasks: Sequence[Task], threads: Executor) -> AsyncIterator[Generations]:
    """Run `tasks` in `threads`, the slots. On exit all are told to stop; a slot is free once its task has."""
    run = Generations(asyncio.get_running_loop(), len(tasks))
    jobs: list[Future[None]] = [threads.submit(run.work, model, task) for task in tasks]
    try:
        yield run
    finally:
        run.leave()
        for job in jobs:
            job.cancel()
