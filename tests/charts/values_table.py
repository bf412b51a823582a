"""`python -m tests.charts.values_table`: writes the table of values in docs/install.md from values.yaml.

What a value is, is the comment above it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import yaml

from tests.charts.helm import CHART, ROOT

DOCUMENT = ROOT / "docs" / "install.md"
HEAD = "| value | default | is |\n|---|---|---|\n"
_ALIKE = {
    "annotations": "Of the object.",
    "affinity": "Of the pods.",
    "labels": "Of the objects.",
    "limits": "",
    "nodeSelector": "Of the pods.",
    "podAnnotations": "",
    "priorityClassName": "Of the pods.",
    "requests": "Of each container.",
    "tolerations": "Of the pods.",
}
"""What stands at many places and needs no comment at each."""
_KEY = re.compile(r"^( *)([A-Za-z]+):(.*)$")


def rows() -> Iterator[tuple[str, str, str]]:
    """(path, default, meaning) of each value that stands on a line of its own."""
    path: list[str] = []
    comment: list[str] = []
    lines = (CHART / "values.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        if line.strip().startswith("#"):
            comment.append(line.strip("# "))
            continue
        match = _KEY.match(line)
        if match is None:
            comment = []
            continue
        depth = len(match[1]) // 2
        path = [*path[:depth], match[2]]
        following = lines[number + 1] if number + 1 < len(lines) else ""
        is_part = not match[3].strip() and following.startswith("  " * (depth + 1))
        if not is_part or comment:
            default = "" if is_part else json.dumps(yaml.safe_load(match[3]))
            yield ".".join(path), default, " ".join(comment) or _ALIKE.get(match[2], "")
        comment = []


def table() -> str:
    lines = [f"| `{path}` | {f'`{default}`' if default else ''} | {text} |" for path, default, text in rows()]
    return HEAD + "\n".join(lines) + "\n"


def with_table(document: str) -> str:
    """The document with today's table in the place of the one that it has."""
    before, _, rest = document.partition(HEAD)
    after = rest.partition("\n\n")[2]
    return f"{before}{table()}\n{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
