"""Pure: every request followed through gateway, adapter, ledger and the vendor's bill, and what is not equal."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from insource.ledger.store import Store
from tests.gateway.units_work import BILLED, MEASURED, Leaving, Work

UNSEEN = "left before the adapter knew of it: the gateway alone does, nothing billed"
NOTHING = "left before the vendor was called: nothing counted, nothing billed"
NOT_BILLED = "left while the vendor was being called: counted, not billed"
CUT = "left later: counted as far as it came, billed whole"
WHOLE = "left with the answer on its way: counted and billed whole"
ALLOWED: Mapping[Leaving, frozenset[str]] = {
    Leaving.UPLOAD: frozenset({NOTHING}),
    Leaving.BEFORE: frozenset({NOTHING, NOT_BILLED, CUT, WHOLE}),
    Leaving.DURING: frozenset({CUT}),
}
"""What may become of a request whose client leaves then, once the adapter knows of it."""
OURS = {
    "seconds": ("audio_ms", 1000),
    "characters": ("characters", 1),
    "input_tokens": ("input_tokens", 1),
    "input_text_tokens": ("input_tokens", 1),
    "output_tokens": ("output_tokens", 1),
    "output_image_tokens": ("image_tokens", 1),
}
"""The vendor's unit -> ours, and how many of ours one is."""


@dataclass
class Entry:
    """One attempt as everybody has it."""

    deployment: str
    client: str
    request_id: str
    outcome: str = ""
    quantities: dict[tuple[str, str], int] = field(default_factory=dict)
    charged_nano: int = 0
    sightings: list[str] = field(default_factory=list)
    """Outcomes that the gateway saw."""
    lines: list[dict[str, Any]] = field(default_factory=list)
    """Of the vendor's bill."""

    @property
    def billed(self) -> dict[str, int]:
        """By the vendor, in its units."""
        return {item["unit"]: item["quantity"] for line in self.lines for item in line["items"]}

    @property
    def bill_nano(self) -> int:
        return sum(line["nano_usd"] for line in self.lines)


@dataclass(frozen=True)
class Row:
    """One unit by one source, of the requests that were answered."""

    unit: str
    source: str
    expected: int
    ledger: int
    bill: int | None
    """None: the vendor does not bill in it."""


@dataclass(frozen=True)
class Account:
    """What came of it."""

    rows: tuple[Row, ...]
    attempts: Mapping[str, int]
    """Who -> how many attempts it knows."""
    left: Mapping[str, int]
    """What became of requests whose clients left -> how many."""
    nano: Mapping[str, tuple[int, int]]
    """Of the answered, and for each thing that became of others: ledger, bill."""
    wrong: tuple[str, ...]
    """Everything that is not equal, and has no name; must be empty."""


@dataclass(frozen=True)
class Books:
    """All attempts by their ids."""

    entries: Mapping[str, Entry]
    """What the adapter knows, with what others say of it."""
    unseen: frozenset[str]
    """Attempts of which the gateway alone knows: it saw the client leave, and no answer."""
    strays: tuple[str, ...]
    """What the gateway or the bill has of other attempts that the adapter does not know."""


async def books_of(store: Store, bill: Iterable[Mapping[str, Any]]) -> Books:
    """Read the ledger, and put the vendor's bill beside it."""

    async def rows(query: str) -> list[Any]:
        return await store.read(lambda connection: list(connection.exec_driver_sql(query)))

    entries = {
        row.attempt_id: Entry(row.deployment, row.client, row.request_id)
        for row in await rows("SELECT attempt_id, deployment, client, request_id FROM attempt")
    }
    for row in await rows("SELECT * FROM usage"):
        if row.kind == "end":
            entries[row.attempt_id].outcome = row.outcome
        else:
            entries[row.attempt_id].quantities[row.unit, row.source] = row.quantity
    for row in await rows("SELECT attempt_id, amount_nano FROM charge"):
        assert row.amount_nano is not None, f"{row.attempt_id} is unpriced"
        entries[row.attempt_id].charged_nano += row.amount_nano
    strays, unseen = [], set()
    for row in await rows("SELECT attempt_id, outcome, status FROM sighting"):
        if row.attempt_id in entries:
            entries[row.attempt_id].sightings.append(row.outcome)
        elif (row.outcome, row.status) == ("gone", 0):
            unseen.add(row.attempt_id)
        else:
            strays.append(f"{row.attempt_id}: only the gateway knows of it ({row.outcome})")
    for line in bill:
        attempt = line["client_request_id"]
        if attempt in entries:
            entries[attempt].lines.append(dict(line))
        else:
            strays.append(f"{attempt}: only the vendor's bill knows of it")
    return Books(entries, frozenset(unseen), tuple(strays))


def account(
    books: Books,
    sent: Iterable[tuple[Leaving, Work]],
    answered: Mapping[str, Work],
    metrics: Mapping[tuple[str, str, str], int],
) -> Account:
    """Compare everything with everything: each request by itself, and the sums."""
    sent, entries = list(sent), books.entries
    wrong = list(books.strays)
    fates: Counter[str] = Counter()
    nano: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for attempt, entry in entries.items():
        fate, problem = _judged(entry, answered)
        if problem:
            wrong.append(f"{attempt} ({entry.deployment}, {entry.client}, {entry.outcome}): {problem}")
        if entry.client != Leaving.STAYS:
            fates[fate] += 1
        nano[fate][0] += entry.charged_nano
        nano[fate][1] += entry.bill_nano
    fates[UNSEEN] = len(books.unseen)
    missing = Counter(leaving.value for leaving, _ in sent)
    missing.subtract(entry.client for entry in entries.values())
    if missing[Leaving.STAYS] or missing[Leaving.DURING] or missing.total() != len(books.unseen):
        wrong.append(f"the adapter does not know of {dict(missing)}, the gateway alone of {len(books.unseen)}")
    if set(answered) != {entry.request_id for entry in entries.values() if entry.client == Leaving.STAYS}:
        wrong.append("answers and attempts differ")
    totals: Counter[tuple[str, str, str]] = Counter()
    for entry in entries.values():
        for (unit, source), quantity in entry.quantities.items():
            totals[entry.deployment, unit, source] += quantity
    wrong += [
        f"{key}: ledger {totals[key]}, adapter's metrics {metrics.get(key, 0)}"
        for key in totals.keys() | metrics.keys()
        if totals[key] != metrics.get(key, 0)
    ]
    attempts = {
        "requests sent": len(sent),
        "gateway": len(books.unseen) + sum(len(entry.sightings) for entry in entries.values()),
        "adapter, in the ledger": len(entries),
        "of them on the vendor's bill": sum(bool(entry.lines) for entry in entries.values()),
    }
    return Account(
        _rows([entry for entry in entries.values() if entry.client == Leaving.STAYS], answered),
        attempts,
        dict(fates),
        {fate: (ours, theirs) for fate, (ours, theirs) in nano.items()},
        tuple(wrong),
    )


def _judged(entry: Entry, answered: Mapping[str, Work]) -> tuple[str, str]:
    """What became of it, and what is wrong with that."""
    if len(entry.sightings) != 1 or len(entry.lines) > 1:
        return "doubled or lost", f"{len(entry.sightings)} sightings, {len(entry.lines)} lines of the bill"
    [seen] = entry.sightings
    if entry.client == Leaving.STAYS:
        return "answered", _of_answered(entry, seen, answered.get(entry.request_id))
    if entry.outcome == "ok":
        fate = WHOLE
    elif not entry.quantities:
        fate = NOTHING
    else:
        fate = CUT if entry.lines else NOT_BILLED
    if fate == NOTHING and entry.lines:
        return fate, f"billed {entry.billed}, not counted"
    if fate == WHOLE and not entry.lines:
        return fate, "answered, not billed"
    if fate not in ALLOWED[Leaving(entry.client)]:
        return fate, fate
    # The adapter may have written its last byte in the moment in which the client leaves.
    if seen != entry.outcome and not (fate == WHOLE and seen == "gone"):
        return fate, f"the gateway saw {seen}"
    return fate, _of_known_before(entry)


def _of_answered(entry: Entry, seen: str, work: Work | None) -> str:
    if entry.outcome != "ok" or seen != "ok":
        return f"the gateway saw {seen}"
    if work is None:
        return "no client had this answer"
    if entry.quantities != work.consumed:
        return f"counted {entry.quantities}, expected {work.consumed}"
    if entry.billed != work.bill:
        return f"billed {entry.billed}, expected {work.bill}"
    if entry.charged_nano != entry.bill_nano:
        return f"charged {entry.charged_nano} nano, billed {entry.bill_nano}"
    return ""


def _of_known_before(entry: Entry) -> str:
    """Sound and characters are known before the call: a bill is exactly for them, also where the answer was cut."""
    for theirs, quantity in entry.billed.items():
        measured = entry.quantities.get((OURS[theirs][0], MEASURED))
        if theirs == "characters" and measured != quantity:
            return f"billed {quantity} characters, counted {measured}"
        if theirs == "seconds" and (measured is None or -(-measured // 1000) != quantity):
            return f"billed {quantity} s, counted {measured} ms"
    for (unit, source), quantity in entry.quantities.items():
        if source == BILLED and quantity != _in_our_units(entry.billed).get(unit):
            return f"noted {quantity} {unit} as billed, the bill says {entry.billed}"
    return ""


def _in_our_units(billed: Mapping[str, int]) -> dict[str, int]:
    return {OURS[theirs][0]: quantity * OURS[theirs][1] for theirs, quantity in billed.items()}


def _rows(entries: list[Entry], answered: Mapping[str, Work]) -> tuple[Row, ...]:
    expected: Counter[tuple[str, str]] = Counter()
    ledger: Counter[tuple[str, str]] = Counter()
    bill: Counter[str] = Counter()
    for work in answered.values():
        expected.update(work.consumed)
    for entry in entries:
        ledger.update(entry.quantities)
        bill.update(_in_our_units(entry.billed))
    return tuple(
        Row(
            unit,
            source,
            expected[unit, source],
            ledger[unit, source],
            bill[unit] if source == BILLED or unit == "characters" else None,
        )
        for unit, source in sorted(expected.keys() | ledger.keys())
    )
