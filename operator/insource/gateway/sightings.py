"""A decided attempt as the ledger wants it: one line of JSON, the fields of a `wire.records.Sighting`.

Not built as one and validated: that would cost more than all the rest. Tests compare the two.
"""

from __future__ import annotations

import re
from functools import lru_cache

import orjson

from insource.gateway.joining import Decided
from insource.gateway.outcomes import was_reached
from insource.wire.records import attempt_id
from insource.wire.vocabulary import BackendKind, Role

_ROLES = frozenset(role.value for role in Role)
_KINDS = frozenset(kind.value for kind in BackendKind)
_PLAIN = re.compile(r"[0-9A-Za-z-]*").fullmatch
"""What needs no escaping."""


def encode_sighting(decided: Decided) -> bytes | None:
    """None for an attempt at the activator, where nothing is consumed."""
    attempt, outcome = decided
    # Note: what is the same for thousands of attempts is written once.
    rest = _rest(*attempt[2:11], outcome)
    if rest is None:
        return None
    request_id, hop = attempt.request_id, attempt.hop
    identity = attempt_id(request_id, hop, attempt.number)
    if not (_PLAIN(request_id) and _PLAIN(hop)):
        return (
            b'{"attempt_id":%b,"request_id":%b,"hop":%b' % tuple(map(orjson.dumps, (identity, request_id, hop)))
            + f',"started_at_ms":{attempt.at_ms},"duration_ms":{attempt.duration_ms},{rest}'.encode()
        )
    return (
        f'{{"attempt_id":"{identity}","request_id":"{request_id}","hop":"{hop}",'
        f'"started_at_ms":{attempt.at_ms},"duration_ms":{attempt.duration_ms},{rest}'
    ).encode()


@lru_cache(maxsize=16384)
def _rest(
    number: int,
    deployment: str,
    backend: str,
    revision: str,
    role: str,
    kind: str,
    vendor: str,
    code: int,
    flags: str,
    outcome: str,
) -> str | None:
    if role not in _ROLES or kind not in _KINDS or not deployment:
        return None
    namespace, _, name = deployment.partition("/")
    fields = {
        "number": number,
        "namespace": namespace,
        "deployment": name,
        "backend": backend,
        "backend_kind": kind,
        "revision": revision,
        "vendor": vendor,
        "role": role,
        "outcome": outcome,
        "status": code,
        "flags": flags[:64],
        "reached": was_reached(code, flags),
    }
    return orjson.dumps(fields).decode()[1:]
