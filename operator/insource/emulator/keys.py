"""OpenAI's key check and its words for it; a wrong key is repeated masked, as OpenAI does."""

from __future__ import annotations

import hmac
from pathlib import Path

from insource.emulator.errors import OpenAIError

KEYS_PAGE = "https://platform.openai.com/account/api-keys"
MISSING = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the API "
    f"from your browser and are prompted for a username and password. You can obtain an API key from {KEYS_PAGE}."
)


def authenticate(authorization: str, key_file: Path) -> None:
    """Raises `OpenAIError` (401) unless `authorization` carries a line of `key_file`."""
    scheme, _, key = authorization.partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise OpenAIError(MISSING, status=401)
    if not is_accepted(key, key_file):
        raise incorrect(key)


def is_accepted(key: str, key_file: Path) -> bool:
    """Is `key` a line of `key_file`?"""
    given = key.encode("utf-8", "surrogateescape")
    accepted = key_file.read_text(encoding="utf-8").split()
    return any(hmac.compare_digest(given, one.encode()) for one in accepted)


def incorrect(key: str) -> OpenAIError:
    """What OpenAI says to a key that it does not know."""
    message = f"Incorrect API key provided: {masked(key)}. You can find your API key at {KEYS_PAGE}."
    return OpenAIError(message, status=401, code="invalid_api_key")


def masked(key: str) -> str:
    """The first eight characters (three of a short key) and the last four; a very short key is hidden whole."""
    if len(key) <= 8:
        return "*" * len(key)
    shown = 8 if len(key) > 20 else 3
    return key[:shown] + "*" * (len(key) - shown - 4) + key[-4:]
