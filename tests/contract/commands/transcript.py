"""What commands printed, as text that a person can read and review, without what differs from run to run. Pure.

$ kubectl get wd a
  NAME  COLOR        (standard output)
! Warning: ...       (standard error)
? 1                  (the exit code, if it is not 0)
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

HASHED = "bcdfghjklmnpqrstvwxz2456789"
"""The letters of generated names."""


@dataclass(frozen=True)
class Ended:
    """How a command ended; `code` None: it was stopped, as a watch is."""

    line: str
    out: str
    err: str
    code: int | None


_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_CLOCK = r"\d\d:\d\d:\d\d"
_DURATION = r"(?:\d+[smhdy])+"
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.MULTILINE), said)
    for pattern, said in (
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
        (r"\beyJ[\w-]+\.[\w-]+\.[\w-]+", "<token>"),
        # Times: as in JSON, as Go prints them, as kubectl describe, as helm.
        (rf"\d{{4}}-\d\d-\d\dT{_CLOCK}(\.\d+)?(Z|[+-]\d\d:\d\d)", "<time>"),
        (rf"\d{{4}}-\d\d-\d\d {_CLOCK}(\.\d+)? [+-]\d{{4}}( UTC)?", "<time>"),
        (rf"\w{{3}}, \d\d \w{{3}} \d{{4}} {_CLOCK} [+-]\d{{4}}", "<time>"),
        (rf"\w{{3}} ({_MONTHS}) +\d+ {_CLOCK} \d{{4}}", "<time>"),
        (r'(resourceVersion[\\": ]+)\d+', r"\1<rv>"),
        (r"(Resource Version: +|resource version to be \d+, was )\d+", r"\1<rv>"),
        (r"(modifiedAt=)\d+", r"\1<time>"),
        # The client's own log of a watch or an answer that it has ended itself: now and then, by a race within it.
        (r"^[IWE]\d{4} .*(reflector|request)\.go.*(context canceled|deadline exceeded|very short watch).*\n", ""),
        (r"^[IWE]\d{4} [\d:.]+ +\d+ (\w+\.go):\d+\]", r"<log> \1]"),
        (r"https://127\.0\.0\.1:\d+", "<server>"),
        (r"127\.0\.0\.1:\d+", "<address>"),
        (r"/\S*/(LIVE|MERGED)-\d+/", r"<folder>/\1/"),
        (r"/\S*/kubectl-edit-\d+", "<folder>/kubectl-edit"),
        (r"v1\.37\.\d+(\+insource)?$", "<server's version>"),
        # Generated names: a pod template's hash, a pod, an Event.
        (rf"(?<=[-= \"])[{HASHED}]{{8,10}}(?=$|[-\s\",):)])", "<hash>"),
        (rf"(?<=<hash>-)[{HASHED}]{{5}}\b", "<id>"),
        (r"\.[0-9a-f]{15,16}\b", ".<event>"),
        # Padding depends on the longest of a column, which may be an age.
        (r"(?<=\S)(?: *\t[ \t]*| {2,})", "  "),
        (rf"(?<=[^:\s]  ){_DURATION}( ago)?(?=$|  | \(x)", "<age>"),
        (rf"(?<=x\d over ){_DURATION}", "<age>"),
        (rf"^{_DURATION}(?=  )", "<age>"),
        (r"[ \t]+$", ""),
    )
)


def normal(text: str) -> str:
    """`text` with uids, times, ages, versions, generated names and column widths replaced by fixed words."""
    for pattern, said in _RULES:
        text = pattern.sub(said, text)
    return text


def _sorted(out: str) -> str:
    """An object on one line, as the server sent it, by the order of its names, which means nothing."""
    if not out.startswith('{"'):
        return out
    try:
        return json.dumps(json.loads(out), sort_keys=True, separators=(",", ":"))
    except ValueError:
        return out


def render(ended: Ended) -> str:
    """One command and its answer."""
    lines = [f"$ {ended.line}"]
    lines += [f"  {line}".rstrip() for line in normal(_sorted(ended.out)).splitlines()]
    lines += [f"! {line}".rstrip() for line in normal(ended.err).splitlines()]
    if ended.code is None:
        lines.append("? stopped")
    elif ended.code:
        lines.append(f"? {ended.code}")
    return "\n".join(lines)


def split(text: str) -> list[str]:
    """A transcript's commands with their answers, as `render` wrote them."""
    return [part for part in re.split(r"^(?=\$ )", text, flags=re.MULTILINE) if part.strip()]
