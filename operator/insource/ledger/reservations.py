"""May this spill attempt be made under its deployment's daily limit? Decided in one transaction, one at a time.

Idempotent per attempt: a granted reservation is answered again with what was granted. A refusal is no fact and may
become a grant when it is asked again.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, text

from insource.domain.pricing import amount_of, nano_of
from insource.ledger import schema
from insource.ledger.ingest import digest_of
from insource.ledger.prices import PriceTable
from insource.ledger.rating import MAX_NANO, Charge, charges_of, total_nano
from insource.ledger.spill import SpillKey, SpillTotals, utc_day
from insource.wire.records import Quantity, ReservationAnswer, ReservationRequest
from insource.wire.vocabulary import UsageSource

DAILY_LIMIT = "daily_limit"
UNPRICED = "unpriced"

_BEFORE = text(
    "SELECT remaining_nano, digest FROM reservation WHERE namespace = :namespace AND attempt_id = :attempt_id"
)
_ENDED = text("""
    SELECT 1 FROM usage WHERE namespace = :namespace AND attempt_id = :attempt_id AND kind = 'end' AND sequence >= 1
""")


class ReservationConflictError(Exception):
    """The attempt has another reservation already, or is over."""


def reserve(
    connection: Connection,
    namespace: str,
    request: ReservationRequest,
    *,
    prices: PriceTable,
    spill: SpillTotals,
    now_ms: int,
) -> ReservationAnswer:
    """Grant if today's (UTC) spill + open reservations + this estimate stay within the limit, and remember it."""
    digest = digest_of(request)
    where = {"namespace": namespace, "attempt_id": request.attempt_id}
    before = connection.execute(_BEFORE, where).one_or_none()
    if before is not None:
        if before.digest != digest:
            raise ReservationConflictError(
                f"attempt {request.attempt_id} has a reservation with another content: use a new attempt id"
            )
        return ReservationAnswer(granted=True, remaining=amount_of(before.remaining_nano))
    if connection.execute(_ENDED, where).one_or_none() is not None:
        raise ReservationConflictError(f"attempt {request.attempt_id} is over: use a new attempt id")
    key = SpillKey(namespace, request.deployment, request.backend, utc_day(now_ms))
    limit = nano_of(request.daily_limit)
    left = max(0, limit - spill.spent(connection, key))
    charges = _charges(request, prices, now_ms)
    amount = total_nano(charges)
    if amount is None:
        return ReservationAnswer(granted=False, reason=UNPRICED, remaining=amount_of(left))
    if left == 0 or amount > left or amount > MAX_NANO:
        return ReservationAnswer(granted=False, reason=DAILY_LIMIT, remaining=amount_of(left))
    row = {
        **where,
        "deployment": request.deployment,
        "backend": request.backend,
        "vendor": request.vendor,
        "model": request.model,
        "unit": request.unit.value,
        "quantity": request.quantity,
        "day": key.day,
        "daily_limit_nano": limit,
        "amount_nano": amount,
        "remaining_nano": left - amount,
        "price_id": charges[0].price_id,
        "reserved_at_ms": now_ms,
        "digest": digest,
    }
    connection.execute(insert(schema.reservation), [row])
    spill.add(key, amount)
    return ReservationAnswer(granted=True, remaining=amount_of(left - amount))


def _charges(request: ReservationRequest, prices: PriceTable, now_ms: int) -> tuple[Charge, ...]:
    """What the estimate would cost, priced as usage is."""
    amounts = [(request.unit, request.quantity), *((each.unit, each.quantity) for each in request.more)]
    quantities = [Quantity(unit=unit, source=UsageSource.MEASURED, quantity=quantity) for unit, quantity in amounts]
    return charges_of(quantities, request.vendor, request.model, prices, now_ms)
