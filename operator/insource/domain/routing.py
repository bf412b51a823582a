"""Who gets the traffic: the block `status.traffic` that every gateway follows.

One side has all the weight. It passes to another only when that one is ready, or when there is nothing to lose;
the version rises with every change and only then. Knows nothing of manifests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from insource.domain.snapshot import Manifest
from insource.wire.vocabulary import Modality


@dataclass(frozen=True, slots=True)
class Side:
    """Something that can have weight: an in-house revision, or a vendor backend (revision "")."""

    backend: str
    revision: str
    ready: bool
    """It has a ready replica, or a vendor's adapter that can serve."""
    served: bool = False
    """It has had weight while it was ready: worth keeping while it is not."""
    vendor: tuple[str, str] | None = None
    """The Vendor's name and its model, of a vendor backend."""

    @property
    def in_house(self) -> bool:
        """Whether we run it."""
        return self.vendor is None

    def same_as(self, other: Side) -> bool:
        """The same backend at the same revision."""
        return (self.backend, self.revision) == (other.backend, other.revision)


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for the traffic whoever serves it."""

    modality: Modality
    request_timeout_s: int
    max_body_bytes: int


@dataclass(frozen=True, slots=True)
class SpillOver:
    """Where requests go that the serving side cannot take."""

    backend: str
    when: str
    vendor: tuple[str, str]


def choose_serving(wanted: Side, current: Side | None, *, replicas_wanted: int) -> Side:
    """Who has the weight now. `current` is who had it until now, None if nobody did or it no longer exists.

    The current side keeps all the weight until the wanted one is ready. It gives way at once where waiting protects
    nothing: it has never served, or the wanted side is switched off (no replicas).
    """
    if current is None or wanted.same_as(current):
        return wanted
    if wanted.ready or (wanted.in_house and replicas_wanted == 0):
        return wanted
    return current if current.ready or current.served else wanted


def traffic_block(serving: Side, spill: SpillOver | None, terms: Terms, previous: Mapping[str, Any] | None) -> Manifest:
    """`status.traffic`, with the previous version if nothing else differs, else the next."""
    block: Manifest = {"weights": [{"backend": serving.backend, "revision": serving.revision, "weight": 100}]}
    vendors: dict[str, Any] = {}
    if serving.vendor is None:
        block["rescue"] = {"backend": serving.backend, "revision": serving.revision}
    else:
        vendors[serving.backend] = _vendor(serving.vendor)
    # A backend that already serves is no overflow for itself.
    if spill is not None and spill.backend != serving.backend:
        block["spill"] = {"backend": spill.backend, "when": spill.when}
        vendors[spill.backend] = _vendor(spill.vendor)
    if vendors:
        block["vendors"] = vendors
    block["requestTimeoutSeconds"] = terms.request_timeout_s
    block["maxBodyBytes"] = terms.max_body_bytes
    block["modality"] = str(terms.modality)
    if previous is None:
        return {"version": 1, **block}
    before = {key: value for key, value in previous.items() if key != "version"}
    version = int(previous.get("version", 0))
    return {"version": version if before == block else version + 1, **block}


def serving_of(block: Mapping[str, Any]) -> tuple[str, str]:
    """Backend and revision that have the weight in a traffic block."""
    first = block["weights"][0]
    return first["backend"], first.get("revision", "")


def is_confirmed(version: int, gateway_versions: tuple[int, ...]) -> bool:
    """Whether every gateway has applied `version`; trivially so where no gateway is configured."""
    return all(applied >= version for applied in gateway_versions)


def _vendor(vendor: tuple[str, str]) -> dict[str, str]:
    return {"name": vendor[0], "model": vendor[1]}
