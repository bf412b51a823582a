"""Answers of a language model in OpenAI's shapes, whole and as stream events. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from insource.servers.generation import Finish, Piece


def usage(ends: Iterable[Finish], n: int) -> dict[str, int]:
    """Tokens of a request: each prompt once, though it is answered `n` times, and all completions."""
    ended = list(ends)
    prompt = sum(end.prompt_tokens for end in ended if end.index % n == 0)
    completion = sum(end.completion_tokens for end in ended)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


@dataclass(frozen=True)
class Shape(ABC):
    """The shape of one answer: `id` without its prefix, `created` in Unix seconds, `model` as asked for."""

    id: str
    created: int
    model: str
    prefix: ClassVar[str]
    kind: ClassVar[str]
    event_kind: ClassVar[str]

    def head(self) -> dict[str, Any]:
        """What all events of a stream begin with."""
        return {"id": self.prefix + self.id, "object": self.event_kind, "created": self.created, "model": self.model}

    def whole(self, choices: Sequence[tuple[str, Finish]], usage: dict[str, int]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        made = [self.choice(text, end) for text, end in choices]
        return {**self.head(), "object": self.kind, "choices": made, "usage": usage}

    def event(self, item: Piece | Finish) -> dict[str, Any]:
        """One event of a stream."""
        return {**self.head(), "choices": [self.change(item)]}

    def begin(self, choices: int) -> Iterable[dict[str, Any]]:
        """Events before the first piece."""
        del choices
        return ()

    @abstractmethod
    def choice(self, text: str, end: Finish) -> dict[str, Any]:
        """One choice of a whole answer."""

    @abstractmethod
    def change(self, item: Piece | Finish) -> dict[str, Any]:
        """What an event says of a choice."""


class CompletionShape(Shape):
    """Of `/v1/completions`."""

    prefix = "cmpl-"
    kind = event_kind = "text_completion"

    def choice(self, text: str, end: Finish) -> dict[str, Any]:
        """See `Shape`."""
        return {"text": text, "index": end.index, "logprobs": None, "finish_reason": end.reason}

    def change(self, item: Piece | Finish) -> dict[str, Any]:
        """See `Shape`."""
        text = item.text if isinstance(item, Piece) else ""
        reason = item.reason if isinstance(item, Finish) else None
        return {"text": text, "index": item.index, "logprobs": None, "finish_reason": reason}


class ChatShape(Shape):
    """Of `/v1/chat/completions`."""

    prefix = "chatcmpl-"
    kind = "chat.completion"
    event_kind = "chat.completion.chunk"

    def begin(self, choices: int) -> Iterable[dict[str, Any]]:
        """The role of each choice, as OpenAI sends it."""
        for index in range(choices):
            delta = {"role": "assistant", "content": ""}
            yield {
                **self.head(),
                "choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}],
            }

    def choice(self, text: str, end: Finish) -> dict[str, Any]:
        """See `Shape`."""
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": end.index, "message": message, "logprobs": None, "finish_reason": end.reason}

    def change(self, item: Piece | Finish) -> dict[str, Any]:
        """See `Shape`."""
        delta = {"content": item.text} if isinstance(item, Piece) else {}
        reason = item.reason if isinstance(item, Finish) else None
        return {"index": item.index, "delta": delta, "logprobs": None, "finish_reason": reason}
