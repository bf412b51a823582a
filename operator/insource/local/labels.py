"""What a label's key and value may be, in the API server's words. Pure."""

from __future__ import annotations

import re

_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_NAME_PATTERN = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_EXAMPLES = f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME_PATTERN}')"
_CHARACTERS = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation "
    f"is '({_NAME_PATTERN})?')"
)
MAX_LENGTH = 63


def is_value(text: str) -> bool:
    return not text or (len(text) <= MAX_LENGTH and _NAME.match(text) is not None)


def wrong_key(key: str) -> str | None:
    """Why `key` cannot be a label's key (`team`, `example.com/team`), or None."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix or (slash and not prefix and not name):
        return f"a valid label key {_CHARACTERS} {_EXAMPLES} with an optional DNS subdomain prefix and '/' " \
            "(e.g. 'example.com/MyName')"  # fmt: skip
    if slash and (not prefix or not _PREFIX.match(prefix)):
        return "prefix part must be non-empty" if not prefix else f"prefix part {_CHARACTERS}"
    if not name:
        return "name part must be non-empty"
    if len(name) > MAX_LENGTH:
        return f"name part must be no more than {MAX_LENGTH} bytes"
    return None if _NAME.match(name) else f"name part {_CHARACTERS} {_EXAMPLES}"
