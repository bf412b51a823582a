"""What the gateway's agent answers on its admin port, for operators and tests."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class AppliedDeployment(_Message):
    """What Envoy has acknowledged for one ModelDeployment."""

    version: int
    """`status.traffic.version` that Envoy has acknowledged in full (cluster, endpoints, scope, route)."""
    generation: int
    override: bool = False
    """True while the dead man's switch holds the stable weights."""
    message: str = ""
    """Why something was refused (a NACK's text, without keys)."""


class Applied(_Message):
    """`GET /applied`, or `GET /applied?deployment=<namespace>/<name>&deployment=...` for some of them."""

    pod: str
    epoch: str
    deployments: dict[str, AppliedDeployment] = Field(default_factory=dict)
    """Keyed `<namespace>/<name>`."""


class Count(_Message):
    """One cumulative counter of evidence."""

    deployment: str
    """`<namespace>/<name>`."""
    backend: str
    revision: str
    role: str
    outcome: str
    first: int
    """Attempts with number 1: what judgements use."""
    all: int
    """Attempts with any number."""


class LatencyHistogram(_Message):
    """Cumulative attempt latency; `counts[i]` are those at most `bounds_ms[i]`, the last one is the overflow."""

    deployment: str
    backend: str
    revision: str
    role: str
    bounds_ms: tuple[float, ...]
    counts: tuple[int, ...]
    sum_ms: float


class Evidence(_Message):
    """`GET /evidence`: cumulative since `epoch`; a reader keeps sums of differences per (pod, epoch)."""

    pod: str
    epoch: str
    counts: tuple[Count, ...] = ()
    latencies: tuple[LatencyHistogram, ...] = ()


class DeploymentSignals(_Message):
    """The present load of one ModelDeployment at this gateway."""

    in_flight: int = 0
    arrivals_total: int = 0
    spilled_total: int = 0
    held: int = 0


class Signals(_Message):
    """`GET /signals`, keyed `<namespace>/<name>`."""

    pod: str
    epoch: str
    deployments: dict[str, DeploymentSignals] = Field(default_factory=dict)


class ListedModel(_Message):
    """One model at a vendor."""

    id: str
    """The vendor's own."""
    listed: bool = True
    """False: a ModelDeployment uses it, and the vendor's list of models has it not."""
    shutdown_date: str = ""
    """The day on which the vendor stops serving it, as `2027-02-26`; empty: the vendor names none."""


class ModelsReport(_Message):
    """What a vendor's own list of models says of those that are in use, and of those that it will shut down."""

    models: tuple[ListedModel, ...] = ()
    """By id; at most 128, those in use before others."""
    listed_at: int | None = None
    """When the vendor last gave its list, seconds since 1970; None: it has not since the adapter began."""
    has_none: bool = False
    """The vendor says that it has no list of models."""
    problem: str = ""
    """Why there is no list, or none of late, in words that stay the same while nothing changes."""


class AdapterState(_Message):
    """`GET /state` of an adapter's admin port."""

    ready: bool
    message: str = ""
    """Why not, in words that stay the same while nothing changes; empty if it is ready, or has nothing to say yet."""
    draining: bool = False
    in_flight: int = 0
    slots: int = 0
    credentials_resolved: bool | None = None
    """None for an in-house adapter, which has none."""
    credentials_message: str = ""
    vendor_models: ModelsReport | None = None
    """None for an in-house adapter, for a wire format without a list of models, and from an older adapter."""
    unshipped: int = 0
    """Records in the write-ahead log that the ledger has not acknowledged."""
