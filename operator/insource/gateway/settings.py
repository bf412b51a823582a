"""What `insource gateway agent` is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from insource.gateway.activator import HoldLimits
from insource.gateway.plain import PlainLimits


@dataclass(frozen=True)
class AgentSettings:
    """Flags of the agent; the rest has defaults that work."""

    kubeconfig: Path | None
    """None: inside a cluster."""
    state_dir: Path
    run_dir: Path
    admin_host: str
    admin_port: int
    """0: the kernel chooses."""
    master_file: Path
    """The master from which each namespace's gateway token is derived."""
    ledger_url: str
    ledger_token_file: Path
    pod: str = "gateway"
    namespace: str = "insource-system"
    """Where client Secrets are."""
    rotate_bytes: int = 64 << 20
    """The access log is rotated above this."""
    keep_bytes: int = 4 << 30
    """Sightings that the ledger has not acknowledged are kept up to this, and rotated logs that were not read; then the
    oldest go, with an error."""
    outlive_envoy_s: float = 0.0
    """After SIGTERM: how long to stay for Envoy to end, its log to be read and the ledger to have all of it."""
    fresh_within_s: float = 3.0
    """How long Envoy waits for the API server's present state before it is given the last snapshot."""
    hold: HoldLimits = field(default_factory=HoldLimits)
    plain: PlainLimits = field(default_factory=PlainLimits)
