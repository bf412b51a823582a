"""Who leads: a Lease elector. A pure core on the monotonic clock, and a thin asynchronous shell around it.

We lead only until the lease could have expired, counted from before our last successful write was sent: whoever takes
over waits at least that long from when it first saw that write. Wall clocks are written for people and never compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from insource.env import Env
from insource.kube.client import ApiError, Client
from insource.kube.resources import LEASES, Object

_log = structlog.get_logger(__name__)
_NEVER = ("", "")
_DELETED = ("?", "")
"""As (holder, resourceVersion): no Lease has such a version."""


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds. `margin_s` covers clocks that do not run equally fast, and a write that is under way."""

    lease_s: float = 6.0
    renew_s: float = 2.0
    attempt_s: float = 2.0
    margin_s: float = 0.5


@dataclass(frozen=True)
class Election:
    """What one candidate knows. Every method returns a new state; none does anything else."""

    identity: str
    times: LeaseTimes
    seen: tuple[str, str] = _NEVER
    """Holder and resourceVersion of the Lease as last read."""
    seen_at: float = 0.0
    held_until: float = 0.0

    def leads(self, now: float) -> bool:
        """True while nobody else can have taken over."""
        return now < self.held_until - self.times.margin_s

    def observe(self, holder: str, version: str, now: float) -> Election:
        """The Lease was read: a change restarts the wait for its expiry."""
        if (holder, version) == self.seen:
            return self
        return replace(self, seen=(holder, version), seen_at=now)

    def missing(self, now: float) -> Election:
        """There is no Lease: it was deleted, or never made. Whoever held it may lead on until it would have expired.

        Who has never seen one takes it that there was none: only a candidate that starts in the two seconds before the
        holder notices the deletion can be wrong about that.
        """
        is_ours = self.seen[0] == self.identity and now < self.seen_at + self.times.lease_s
        return self if is_ours or self.seen == _NEVER else self.observe(*_DELETED, now)

    def may_take(self, now: float, lease_s: float) -> bool:
        """May we write our name into the Lease that was last observed? `lease_s` is its own duration."""
        holder = self.seen[0]
        return not holder or holder == self.identity or now >= self.seen_at + lease_s

    def wrote(self, version: str, sent_at: float, now: float) -> Election:
        """Our write, sent at `sent_at`, succeeded."""
        return replace(self, seen=(self.identity, version), seen_at=now, held_until=sent_at + self.times.lease_s)

    def lost(self) -> Election:
        """Somebody else holds it, or we gave it up."""
        return replace(self, held_until=0.0)


def micro_time(moment: datetime) -> str:
    """Kubernetes' MicroTime: always six digits and `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


class LeaseElector:
    """Holds the Lease `namespace/name` as `identity` when it can.

    Calls `on_lead` each time we begin to lead, after a gap too.
    """

    def __init__(
        self,
        client: Client,
        env: Env,
        *,
        namespace: str,
        name: str,
        identity: str,
        on_lead: Callable[[], None],
        times: LeaseTimes = LeaseTimes(),
    ) -> None:
        self._client = client
        self._clock = env.clock
        self._rng = env.rng
        self._namespace = namespace
        self._name = name
        self._on_lead = on_lead
        self._election = Election(identity, times)
        self._begins = False

    def leads(self) -> bool:
        """May we write now?"""
        return self._election.leads(self._clock.monotonic())

    async def run(self) -> None:
        """Take and renew the Lease until cancelled; on cancellation give it up, so that a successor need not wait."""
        led = False
        try:
            while True:
                await self.attempt()
                leads = self.leads()
                if leads != led or (leads and self._begins):
                    led = leads
                    _log.info("leadership", leads=leads, identity=self._election.identity)
                    if leads:
                        self._begins = False
                        self._on_lead()
                await self._clock.sleep(self._election.times.renew_s * self._rng.uniform(0.8, 1.0))
        finally:
            await self.release()

    async def attempt(self) -> None:
        """One try to take or renew; never raises for what the API does, never takes longer than the time-out."""
        try:
            async with asyncio.timeout(self._election.times.attempt_s):
                await self._try()
        except (ApiError, TimeoutError) as error:
            if self.leads() or not isinstance(error, ApiError) or error.status != 409:
                _log.warning("lease_attempt_failed", error=str(error) or "time-out")

    async def release(self) -> None:
        """Give the Lease up if we hold it."""
        if not self.leads():
            return
        self._election = self._election.lost()
        version = self._election.seen[1]
        try:
            async with asyncio.timeout(self._election.times.attempt_s):
                await self._write({"holderIdentity": "", "leaseDurationSeconds": 1}, version)
        except (ApiError, TimeoutError) as error:
            _log.warning("lease_release_failed", error=str(error) or "time-out")

    async def _try(self) -> None:
        election = self._election
        sent_at = self._clock.monotonic()
        if election.leads(sent_at):
            # The usual renewal: one write, no read. A conflict means that somebody changed it: look again next time.
            await self._take(election.seen[1], sent_at, {})
            return
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            self._election = election.missing(self._clock.monotonic())
            if self._election.may_take(sent_at, self._election.times.lease_s):
                await self._create()
            return
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        now = self._clock.monotonic()
        self._election = election.observe(holder, lease["metadata"]["resourceVersion"], now)
        if self._election.may_take(now, float(spec.get("leaseDurationSeconds") or 0)):
            fields: dict[str, Any] = {"holderIdentity": election.identity, "acquireTime": self._now()}
            if holder != election.identity:
                fields["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
            await self._take(lease["metadata"]["resourceVersion"], now, fields)

    async def _take(self, version: str, sent_at: float, fields: dict[str, Any]) -> None:
        spec = {"leaseDurationSeconds": int(self._election.times.lease_s), "renewTime": self._now(), **fields}
        try:
            lease = await self._write(spec, version)
        except ApiError as error:
            if error.status in (404, 409):
                self._election = self._election.lost()
            raise
        self._wrote(lease, sent_at)

    def _wrote(self, lease: Object, sent_at: float) -> None:
        # Note: a renewal that comes late leaves a gap in which work was turned away, though nobody else has led.
        self._begins = self._begins or not self.leads()
        self._election = self._election.wrote(lease["metadata"]["resourceVersion"], sent_at, self._clock.monotonic())

    async def _write(self, spec: dict[str, Any], version: str) -> Object:
        patch = {"metadata": {"resourceVersion": version}, "spec": spec}
        return await self._client.merge_patch(LEASES, self._name, self._namespace, patch)

    async def _create(self) -> None:
        sent_at = self._clock.monotonic()
        lease = await self._client.create(
            LEASES,
            {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": {
                    "holderIdentity": self._election.identity,
                    "leaseDurationSeconds": int(self._election.times.lease_s),
                    "acquireTime": self._now(),
                    "renewTime": self._now(),
                    "leaseTransitions": 0,
                },
            },
        )
        self._wrote(lease, sent_at)

    def _now(self) -> str:
        return micro_time(self._clock.now())
