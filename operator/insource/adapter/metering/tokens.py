"""Our own count of tokens: an estimate, because each model has its own tokens and a vendor's are not for others.

A token for every four bytes of UTF-8, rounded up, is OpenAI's rule of thumb for English ("one token is about four
characters", https://platform.openai.com/tokenizer); by bytes instead of characters it stays near for other scripts.
Lists of tokens are counted exactly. See docs/decisions/0043-units-of-text-and-images.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
"""What a turn of a conversation takes beside its text: its role and its marks."""


def tokens_of_bytes(count: int) -> int:
    """The estimate for a text of so many bytes; at least one token for any."""
    return -(-count // BYTES_PER_TOKEN)


def tokens_of_input(given: str | Iterable[Any]) -> int:
    """Of a prompt or of what is to be embedded: a text, texts, tokens, or lists of tokens."""
    if isinstance(given, str):
        return tokens_of_bytes(len(given.encode()))
    return sum(1 if isinstance(each, int) else tokens_of_input(each) for each in given)


def tokens_of_messages(messages: Iterable[Mapping[str, Any]], tools: Iterable[Mapping[str, Any]] = ()) -> int:
    """Of a conversation, as its JSON objects."""
    turns = list(messages)
    return TOKENS_PER_MESSAGE * len(turns) + tokens_of_bytes(text_bytes(turns) + text_bytes(list(tools)))


def text_bytes(value: Any) -> int:
    """The bytes of all texts within a JSON value, those of keys and of `role`, `type` and `id` left out."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return sum(text_bytes(each) for key, each in value.items() if key not in ("role", "type", "id"))
    if isinstance(value, list | tuple):
        return sum(text_bytes(each) for each in value)
    return 0
