"""The life of a pod's containers as a pure state machine: what to start and what to stop, given what is known.

It knows neither processes nor the API: the node tells it what happened, and does what `decide` says. Rules are the
kubelet's: init containers one by one; sidecars (init containers that restart always) in order, each started
before the next;
main containers together; at the end main containers first, then the sidecars in reverse.
Times are monotonic seconds, except those named `_at` of type datetime, which are for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

STEADY_S = 600.0
"""A container that ran this long starts with no back-off again."""


@dataclass(frozen=True)
class BackOff:
    """Pause before a restart: none for the first, then `first_s`, doubled each time up to `longest_s`.

    The values are those of Kubernetes' ReduceDefaultCrashLoopBackOffDecay (KEP-4603); a person waits for this cluster.
    """

    first_s: float = 1.0
    longest_s: float = 60.0


class Kind(StrEnum):
    """What part a container has in its pod."""

    INIT = "init"
    SIDECAR = "sidecar"
    MAIN = "main"


class Phase(StrEnum):
    """Where a container is."""

    WAITING = "waiting"
    RUNNING = "running"
    TERMINATED = "terminated"


@dataclass(frozen=True)
class Termination:
    """How a run ended."""

    exit_code: int
    reason: str
    started_at: datetime | None
    finished_at: datetime
    message: str = ""
    signal: int = 0


@dataclass(frozen=True)
class Container:
    """One container: what it is, and what has become of it."""

    name: str
    kind: Kind
    restart: str
    """`Always`, `OnFailure` or `Never`, as it applies to this container."""
    needs_startup: bool = False
    needs_readiness: bool = False
    phase: Phase = Phase.WAITING
    reason: str = ""
    """Why it waits; empty: nothing is wrong."""
    message: str = ""
    has_started: bool = False
    """Running, and its startup probe (if any) has passed."""
    ready: bool = False
    stopping: bool = False
    unhealthy: str = ""
    """What its startup or liveness probe said when it gave up; the container is to be stopped."""
    started_at: datetime | None = None
    started_s: float = 0.0
    ended: Termination | None = None
    """The present state, if terminated."""
    last: Termination | None = None
    """How the run before this one ended."""
    runs: int = 0
    launched: bool = False
    """It has run under this node; False again when a restarted node takes the pod over."""
    restarts: int = 0
    pause_s: float = 0.0
    retry_at_s: float = 0.0
    """Not to be started before this."""

    @property
    def running(self) -> bool:
        return self.phase is Phase.RUNNING

    @property
    def restarts_now(self) -> bool:
        """Terminated, and its restart policy starts it again."""
        if self.ended is None:
            return False
        return self.restart == "Always" or (self.restart == "OnFailure" and self.ended.exit_code != 0)

    @property
    def done(self) -> bool:
        """Terminated for good."""
        return self.phase is Phase.TERMINATED and not self.restarts_now


def containers_of(spec: Mapping[str, Any]) -> tuple[Container, ...]:
    """The containers of a pod spec, init containers first, none of them started."""
    policy = spec.get("restartPolicy") or "Always"
    found: list[Container] = []
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            found.append(_container(container, Kind.SIDECAR, "Always"))
        else:
            found.append(_container(container, Kind.INIT, "Never" if policy == "Never" else "OnFailure"))
    found.extend(_container(container, Kind.MAIN, policy) for container in spec["containers"])
    return tuple(found)


def taken_over(container: Container, status: Mapping[str, Any] | None, *, now: datetime) -> Container:
    """The container as an earlier node left it, by its `status`: what ran then is counted as ended, and runs again."""
    if not status or not status.get("containerID"):
        return container
    state = status.get("state") or {}
    before = state.get("terminated") or (status.get("lastState") or {}).get("terminated")
    if "running" in state:
        ended = Termination(
            exit_code=137,
            reason="ContainerStatusUnknown",
            message="the embedded node was stopped while this container ran",
            started_at=_moment(state["running"].get("startedAt")),
            finished_at=now,
        )
    elif before:
        ended = Termination(
            exit_code=before["exitCode"],
            signal=before.get("signal", 0),
            reason=before.get("reason", ""),
            message=before.get("message", ""),
            started_at=_moment(before.get("startedAt")),
            finished_at=_moment(before.get("finishedAt")) or now,
        )
    else:
        return container
    return replace(container, phase=Phase.TERMINATED, ended=ended, runs=1, restarts=status.get("restartCount", 0))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _container(spec: Mapping[str, Any], kind: Kind, restart: str) -> Container:
    return Container(
        name=spec["name"],
        kind=kind,
        restart=restart,
        needs_startup=bool(spec.get("startupProbe")),
        needs_readiness=bool(spec.get("readinessProbe")) and kind is not Kind.INIT,
    )


# What happened ---------------------------------------------------------------------------------------------------


def after_start(container: Container, *, now_s: float, now: datetime) -> Container:
    """The container's program runs."""
    has_started = not container.needs_startup
    return replace(
        container,
        phase=Phase.RUNNING,
        reason="",
        message="",
        has_started=has_started,
        ready=has_started and not container.needs_readiness,
        stopping=False,
        unhealthy="",
        started_at=now,
        started_s=now_s,
        ended=None,
        last=container.ended or container.last,
        restarts=container.restarts + (1 if container.runs else 0),
        runs=container.runs + 1,
        launched=True,
    )


def after_refusal(container: Container, *, reason: str, message: str, retry_at_s: float) -> Container:
    """The container could not be started, for a reason that may pass (a missing Secret) or not (an unknown image)."""
    return replace(
        container,
        phase=Phase.WAITING,
        reason=reason,
        message=message,
        last=container.ended or container.last,
        ended=None,
        retry_at_s=retry_at_s,
    )


def after_exit(
    container: Container,
    *,
    exit_code: int,
    signal: int,
    reason: str,
    message: str,
    now_s: float,
    now: datetime,
    back_off: BackOff,
) -> Container:
    """The container's program is gone. `reason` empty: `Completed` or `Error` by the exit code."""
    steady = container.running and now_s - container.started_s >= STEADY_S
    pause_s = 0.0 if steady else container.pause_s
    return replace(
        container,
        phase=Phase.TERMINATED,
        reason="",
        message="",
        has_started=False,
        ready=False,
        stopping=False,
        unhealthy="",
        ended=Termination(
            exit_code=exit_code,
            signal=signal,
            reason=reason or ("Completed" if exit_code == 0 else "Error"),
            message=message,
            started_at=container.started_at,
            finished_at=now,
        ),
        runs=max(container.runs, 1),
        retry_at_s=now_s + pause_s,
        pause_s=min(max(pause_s * 2, back_off.first_s), back_off.longest_s),
    )


# What to do ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """What the node is to do now, and when to ask again if nothing happens."""

    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    wake_at_s: float | None = None
    over: bool = False
    """Nothing runs and nothing ever will again."""


def initialized(containers: Sequence[Container]) -> bool:
    """All init containers have done their part, so that the main containers may run."""
    if any(container.kind is Kind.MAIN and container.launched for container in containers):
        return True
    return all(
        (container.kind is Kind.INIT and container.done and _succeeded(container))
        or (container.kind is Kind.SIDECAR and container.has_started)
        for container in containers
        if container.kind is not Kind.MAIN
    )


def _succeeded(container: Container) -> bool:
    return container.ended is not None and container.ended.exit_code == 0


def decide(containers: Sequence[Container], *, deleting: bool, now_s: float) -> Decision:
    """What to start and stop. Stops of containers that are `stopping` already are not repeated."""
    if deleting or finished(containers):
        return _wind_down(containers)
    unhealthy = tuple(c.name for c in containers if c.running and c.unhealthy and not c.stopping)
    start: list[str] = []
    wake_at_s: float | None = None
    for container in _wanted(containers):
        if container.retry_at_s > now_s:
            wake_at_s = container.retry_at_s if wake_at_s is None else min(wake_at_s, container.retry_at_s)
        else:
            start.append(container.name)
    return Decision(start=tuple(start), stop=unhealthy, wake_at_s=wake_at_s)


def finished(containers: Sequence[Container]) -> bool:
    """The pod's work is over: every main container is done, or an init container has failed for good."""
    mains = [container for container in containers if container.kind is Kind.MAIN]
    return all(main.done for main in mains) or any(
        container.kind is Kind.INIT and container.done and not _succeeded(container) for container in containers
    )


def _wanted(containers: Sequence[Container]) -> list[Container]:
    """Containers that should run and do not."""
    if initialized(containers):
        return [c for c in containers if c.kind is not Kind.INIT and not c.running and not c.done]
    for container in containers:
        if container.kind is Kind.MAIN:
            break
        if container.kind is Kind.INIT:
            if container.running:
                return []
            if not container.done:
                return [container]
        elif not container.has_started:
            return [] if container.running else [container]
    return []


def _wind_down(containers: Sequence[Container]) -> Decision:
    """Main and plain init containers first, together; then the sidecars, the last one first, one at a time."""
    running = [container for container in containers if container.running]
    first = [container for container in running if container.kind is not Kind.SIDECAR]
    turn = first or running[-1:]
    return Decision(stop=tuple(c.name for c in turn if not c.stopping), over=not running)
