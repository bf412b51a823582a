"""How a ledger is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from insource.ledger.attempts import Patience
from insource.ledger.prices import DEFAULT_CURRENCY


@dataclass(frozen=True)
class LedgerSettings:
    """`data` is a folder; `port` 0 asks the kernel (then see the log). Durations in seconds."""

    kubeconfig: Path | None
    """None: the pod's own ServiceAccount."""
    data: Path
    host: str = "127.0.0.1"
    port: int = 0
    currency: str = DEFAULT_CURRENCY
    grace_s: float = 30.0
    """After the gateway saw an attempt end, until a missing record makes it `unknown`."""
    open_attempt_s: float = 3600.0
    """After an attempt's start, until it is `unknown` if nobody saw its end."""

    @property
    def patience(self) -> Patience:
        return Patience(grace_ms=int(self.grace_s * 1000), open_ms=int(self.open_attempt_s * 1000))
