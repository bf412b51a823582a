"""Who sends an attempt: proof that it came through the gateway, and the identity headers the gateway set."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from insource.adapter.refusals import client_error, unauthenticated
from insource.wire import headers
from insource.wire.records import attempt_id


@dataclass(frozen=True)
class Identity:
    """One attempt of one request, as the gateway names it."""

    request_id: str
    hop: str
    number: int
    namespace: str
    deployment: str
    client: str

    @property
    def attempt_id(self) -> str:
        """The same in adapter, gateway log and ledger."""
        return attempt_id(self.request_id, self.hop, self.number)


def check_token(presented: str, accepted: frozenset[str]) -> None:
    """Raise 401 unless the token's SHA-256 is among `accepted`; compares in constant time."""
    digest = hashlib.sha256(presented.encode("utf-8", "replace")).hexdigest()
    matches = [hmac.compare_digest(digest, known) for known in accepted]
    if not presented or not any(matches):
        raise unauthenticated()


def identify(sent: Mapping[str, str], namespace: str) -> Identity:
    """Read the identity headers; raises 400 naming the first that is missing or wrong."""
    for name in (headers.REQUEST_ID, headers.DEPLOYMENT, headers.NAMESPACE):
        if not sent.get(name):
            raise _missing(name, "is missing")
    if sent[headers.NAMESPACE] != namespace:
        raise _missing(headers.NAMESPACE, f"names another namespace than this adapter's, {namespace}")
    number = sent.get(headers.ATTEMPT_COUNT, "")
    if not number.isascii() or not number.isdigit() or not 1 <= int(number[:9]) < 10**6:
        raise _missing(headers.ATTEMPT_COUNT, "must be a number from 1")
    identity = Identity(
        request_id=sent[headers.REQUEST_ID],
        hop=sent.get(headers.HOP, ""),
        number=int(number),
        namespace=namespace,
        deployment=sent[headers.DEPLOYMENT],
        client=sent.get(headers.CLIENT, ""),
    )
    for name, value, longest in (
        (headers.REQUEST_ID, identity.request_id, 128),
        (headers.HOP, identity.hop, 32),
        (headers.DEPLOYMENT, identity.deployment, 253),
        (headers.CLIENT, identity.client, 253),
    ):
        if len(value) > longest:
            raise _missing(name, f"is longer than {longest} characters")
    return identity


def _missing(name: str, what: str) -> Exception:
    return client_error(f"The gateway's header {name} {what}.", code="missing_identity")
