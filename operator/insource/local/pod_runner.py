"""One pod on the embedded node: does what the lifecycle decides, and tells it what happened.

The rules are in `pod_lifecycle` (what to start and stop) and `pod_status` (what to report); how a program is prepared
is in `pod_launch`, how it is stopped in `pod_stop`, how probes are asked in `pod_probing`. This file starts programs
and keeps volumes fresh.
One task per pod; a wake-up, never an argument, says that something changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from dataclasses import replace
from typing import Any

import structlog

from insource.local import pod_lifecycle, processes
from insource.local.objects import Object, is_terminating
from insource.local.pod_launch import NEVER_RETRY_S, Launcher, NotStartableError, Surroundings, forget_words, last_words
from insource.local.pod_lifecycle import Kind, containers_of, decide, taken_over
from insource.local.pod_logs import ContainerLogs, RunLog
from insource.local.pod_probing import Probing
from insource.local.pod_report import RETRY_S, PodReport
from insource.local.pod_status import pod_status
from insource.local.pod_stop import SIDECAR_GRACE_S, stop
from insource.local.pod_support import unsupported
from insource.local.probes import Target
from insource.local.store_errors import ApiError
from insource.local.volumes import PodVolumes


class PodRunner:
    """Runs one pod until it is deleted, or the node stops."""

    def __init__(self, pod: Object, address: str, surroundings: Surroundings) -> None:
        self._pod = pod
        self._address = address
        self._around = surroundings
        self._clock = surroundings.env.clock
        self._folder = surroundings.pods_folder / pod["metadata"]["uid"]
        self._volumes = PodVolumes(
            self._folder / "volumes", surroundings.claims_folder, surroundings.issue, surroundings.env
        )
        spec = pod["spec"]
        self._specs = {c["name"]: c for part in ("initContainers", "containers") for c in spec.get(part) or ()}
        self._containers = {container.name: container for container in containers_of(spec)}
        self._launcher = Launcher(self._folder, address, self._specs, self._volumes, surroundings, self._warn)
        self._unsupported = unsupported(spec)
        self._programs: dict[str, processes.Program] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._logs: dict[str, ContainerLogs] = {}
        self._woken = asyncio.Event()
        self._volumes_stale = False
        self._volumes_wait_s = 0.0
        """Until when (monotonic) volumes that could not be brought up to date are left alone."""
        self._gone = False
        self._closing = False
        self._deadline_s: float | None = None
        self._log = structlog.get_logger("node").bind(pod=f"{pod['metadata']['namespace']}/{pod['metadata']['name']}")
        self._report = PodReport(surroundings.write_status, self._clock, self._log)
        self._probing = Probing(self._specs, self._target, self._clock, self._change, self._tell_unhealthy, self._spawn)
        self._take_over()

    # What others tell it -----------------------------------------------------------------------------------------

    @property
    def pod(self) -> Object:
        return self._pod

    @property
    def address(self) -> str:
        return self._address

    def update(self, pod: Object) -> None:
        """The API's copy has changed."""
        if pod["metadata"].get("labels") != self._pod["metadata"].get("labels") or pod["metadata"].get(
            "annotations"
        ) != self._pod["metadata"].get("annotations"):
            self._volumes_stale = True
            self._woken.set()
        self._pod = pod
        if is_terminating(pod):
            self._end_by(float(pod["metadata"].get("deletionGracePeriodSeconds") or 0))

    def references_changed(self) -> None:
        """A Secret, ConfigMap or claim of the pod's namespace has changed."""
        self._volumes_stale = True
        for name, container in self._containers.items():
            if not container.running and container.reason in ("CreateContainerConfigError", "ContainerCreating"):
                self._containers[name] = replace(container, retry_at_s=0.0)
        self._woken.set()

    def vanish(self) -> None:
        """The pod is gone from the API (deleted by force): everything of it dies at once."""
        self._gone = True
        self._end_by(0.0)

    def close(self, grace_s: float) -> None:
        """The node stops: the pod ends within `grace_s`, and stays in the API."""
        self._closing = True
        self._end_by(min(grace_s, self._grace_s()))

    def logs(self, container: str) -> ContainerLogs | None:
        """What a container has written; None if the pod has no such container."""
        if container not in self._containers:
            return None
        if container not in self._logs:
            self._logs[container] = ContainerLogs(self._folder / "logs" / container, self._clock)
        return self._logs[container]

    def _end_by(self, grace_s: float) -> None:
        deadline_s = self._clock.monotonic() + grace_s
        self._deadline_s = deadline_s if self._deadline_s is None else min(self._deadline_s, deadline_s)
        self._woken.set()

    # The loop ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until the pod has ended. A cancelled run leaves no program behind."""
        try:
            while not await self._step():
                pass
        finally:
            await self._kill_all()
        if self._gone or not self._closing:
            shutil.rmtree(self._folder, ignore_errors=True)
        await self._leave()

    async def _leave(self) -> None:
        """The pod has ended: it may leave the API."""
        while not self._gone and not self._closing:
            try:
                self._around.remove(self._pod)
                return
            except ApiError as error:
                self._log.warning("the pod could not be removed; trying again", error=error.message)
                self._woken.clear()
                await self._wait_until(self._clock.monotonic() + RETRY_S)

    async def _step(self) -> bool:
        """One round: decide, act, report, wait. True when the pod is over and is to go."""
        self._woken.clear()
        ending = self._deadline_s is not None
        if self._unsupported and not ending:
            self._refuse_whole()
            await self._wait_until(self._report.retry_at_s)
            return False
        decision = decide(tuple(self._containers.values()), deleting=ending, now_s=self._clock.monotonic())
        for name in decision.stop:
            self._begin_stop(name)
        for name in decision.start:
            await self._start(name)
        self._kill_overdue()
        self._refresh_volumes()
        if not self._gone:
            self._report.tell(self._pod, self._status())
        if ending and decision.over:
            return True
        if not decision.start:
            await self._rest(decision.wake_at_s)
        return False

    async def _rest(self, wake_at_s: float | None) -> None:
        moments = [wake_at_s, self._volumes_due_s(), self._report.retry_at_s, *self._kill_moments()]
        await self._wait_until(min((moment for moment in moments if moment is not None), default=None))

    async def _wait_until(self, due_s: float | None) -> None:
        pause_s = None if due_s is None else max(0.0, due_s - self._clock.monotonic())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._woken.wait()

    def _kill_moments(self) -> list[float]:
        if self._deadline_s is None:
            return []
        now_s = self._clock.monotonic()
        moments = {self._deadline_s, self._deadline_s + SIDECAR_GRACE_S}
        return [moment for moment in moments if moment > now_s]

    def _kill_overdue(self) -> None:
        if self._deadline_s is None:
            return
        late_s = self._clock.monotonic() - self._deadline_s
        for name, program in self._programs.items():
            sidecar = self._containers[name].kind is Kind.SIDECAR
            if late_s >= (SIDECAR_GRACE_S if sidecar and not self._gone else 0.0):
                program.kill()

    def _status(self, reason: str = "", message: str = "") -> Object:
        return pod_status(
            self._pod,
            tuple(self._containers.values()),
            pod_ip=self._address,
            host_ip=self._around.host_ip,
            now_s=self._clock.monotonic(),
            now=self._clock.now(),
            reason=reason,
            message=message,
        )

    def _refuse_whole(self) -> None:
        asked = ", ".join(self._unsupported)
        message = f"the embedded cluster's node does not support {asked}: use a real Kubernetes cluster for this pod"
        for name, container in self._containers.items():
            self._containers[name] = pod_lifecycle.after_refusal(
                container, reason="Unsupported", message=message, retry_at_s=NEVER_RETRY_S
            )
        status = self._status("Unsupported", message)
        if self._report.tell(self._pod, status):
            self._around.events.record(self._pod, "Unsupported", message, "Warning")

    def _take_over(self) -> None:
        status = self._pod.get("status") or {}
        for part in ("initContainerStatuses", "containerStatuses"):
            for held in status.get(part) or ():
                if held["name"] in self._containers:
                    container = self._containers[held["name"]]
                    self._containers[held["name"]] = taken_over(container, held, now=self._clock.now())
        if is_terminating(self._pod):
            self._end_by(float(self._pod["metadata"].get("deletionGracePeriodSeconds") or 0))

    # Starting ----------------------------------------------------------------------------------------------------

    async def _start(self, name: str) -> None:
        try:
            launch = self._launcher.prepare(self._pod, name)
        except NotStartableError as error:
            self._refuse(name, error.reason, str(error), error.retry_s)
            return
        container = self._containers[name]
        logs = self.logs(name)
        assert logs is not None
        log: RunLog | None = None
        record = self._folder / f"{name}.pid"
        try:
            log = logs.begin()
            forget_words(self._folder, name)
            program = await processes.start(
                launch.argv, environment=launch.variables, folder=launch.folder, output=log, record=record
            )
        except OSError as error:
            if log is not None:
                log.close()
            message = f"{error.filename or launch.argv[0]}: {error.strerror or error}"
            self._event("Failed", f"Error: failed to start container {name}: {message}", warning=True)
            self._ended(name, processes.Exit(128), reason="StartError", message=message)
            return
        self._programs[name] = program
        self._containers[name] = pod_lifecycle.after_start(
            container, now_s=self._clock.monotonic(), now=self._clock.now()
        )
        self._event("Started", f"Started container {name}")
        self._spawn(self._await_exit(name, program))
        self._probing.begin(name)

    def _refuse(self, name: str, reason: str, message: str, retry_s: float) -> None:
        self._containers[name] = pod_lifecycle.after_refusal(
            self._containers[name],
            reason=reason,
            message=message,
            retry_at_s=self._clock.monotonic() + retry_s,
        )

    def _volumes_due_s(self) -> float | None:
        """When (monotonic) to look at the volumes again without being told."""
        if self._volumes_stale:
            return self._volumes_wait_s if self._programs else None
        rotation_s = self._volumes.next_rotation_s()
        return None if rotation_s is None else max(rotation_s, self._volumes_wait_s)

    def _refresh_volumes(self) -> None:
        due_s = self._volumes_due_s()
        if not self._programs or due_s is None or due_s > self._clock.monotonic():
            return
        self._volumes_stale = False
        try:
            whole = self._launcher.refresh(self._pod)
        except OSError as error:
            whole, self._volumes_stale = False, True
            self._event("FailedMount", f"volumes could not be brought up to date: {error}", warning=True)
        self._volumes_wait_s = 0.0 if whole else self._clock.monotonic() + RETRY_S

    # Running -----------------------------------------------------------------------------------------------------

    async def _await_exit(self, name: str, program: processes.Program) -> None:
        ended = await program.wait()
        self._probing.end(name)
        self._programs.pop(name, None)
        self._ended(name, ended, message=last_words(self._folder, name))

    def _ended(self, name: str, ended: processes.Exit, reason: str = "", message: str = "") -> None:
        container = pod_lifecycle.after_exit(
            self._containers[name],
            exit_code=ended.code,
            signal=ended.signal,
            reason=reason,
            message=message,
            now_s=self._clock.monotonic(),
            now=self._clock.now(),
            back_off=self._around.back_off,
        )
        self._containers[name] = container
        if container.restarts_now and container.retry_at_s > self._clock.monotonic() and self._deadline_s is None:
            self._event("BackOff", f"Back-off restarting failed container {name}", warning=True)
        self._woken.set()

    def _target(self, name: str) -> Target:
        ports = self._specs[name].get("ports") or ()
        return Target(
            address=self._address,
            ports={port["name"]: port["containerPort"] for port in ports if port.get("name")},
            run=lambda command, timeout_s: self._launcher.run_inside(self._pod, name, command, timeout_s),
            session=self._around.session,
        )

    def _change(self, name: str, **changes: Any) -> None:
        before = self._containers[name]
        after = replace(before, **changes)
        if after != before and before.running:
            self._containers[name] = after
            self._woken.set()

    # Stopping ----------------------------------------------------------------------------------------------------

    def _begin_stop(self, name: str) -> None:
        container = self._containers[name]
        self._containers[name] = replace(container, stopping=True)
        program = self._programs.get(name)
        if program is None:
            return
        grace_s = self._grace_s()
        if container.unhealthy:
            which = "livenessProbe" if container.has_started else "startupProbe"
            grace_s = float((self._specs[name].get(which) or {}).get("terminationGracePeriodSeconds") or grace_s)
            self._event("Killing", f"Container {name} {container.unhealthy.partition(':')[0]}, will be restarted")
        else:
            self._event("Killing", f"Stopping container {name}")
        if self._gone:
            program.kill()
            return
        hook = (self._specs[name].get("lifecycle") or {}).get("preStop")
        deadline_s = self._clock.monotonic() + grace_s
        self._spawn(stop(program, hook, self._target(name), self._clock, deadline_s, self._hook_failed))

    def _hook_failed(self, message: str) -> None:
        self._event("FailedPreStopHook", f"PreStopHook failed: {message}", warning=True)

    async def _kill_all(self) -> None:
        for program in list(self._programs.values()):
            program.kill()
        waiting = [program.wait() for program in list(self._programs.values())]
        await asyncio.gather(*waiting, return_exceptions=True)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _grace_s(self) -> float:
        return float(self._pod["spec"].get("terminationGracePeriodSeconds", 30))

    # Small things ------------------------------------------------------------------------------------------------

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("a pod's task failed", exc_info=error)
            self._woken.set()

    def _tell_unhealthy(self, message: str) -> None:
        self._event("Unhealthy", message, warning=True)

    def _warn(self, _pod: Object, reason: str, message: str) -> None:
        self._event(reason, message, warning=True)

    def _event(self, reason: str, message: str, *, warning: bool = False) -> None:
        if not self._gone:
            self._around.events.record(self._pod, reason, message, "Warning" if warning else "Normal")
