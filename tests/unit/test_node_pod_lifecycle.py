"""The order in which a pod's containers start and stop, over every history of exits, probes and deletion."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from insource.local.pod_lifecycle import (
    BackOff,
    Container,
    Decision,
    Kind,
    Phase,
    after_exit,
    after_start,
    containers_of,
    decide,
    finished,
    taken_over,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = {
    "initContainers": [
        {"name": "prepare"},
        {"name": "server", "restartPolicy": "Always", "startupProbe": {"exec": {}}},
        {"name": "proxy", "restartPolicy": "Always"},
    ],
    "containers": [{"name": "adapter", "readinessProbe": {"exec": {}}}, {"name": "other"}],
}


def started(container: Container, now_s: float = 0.0) -> Container:
    return after_start(container, now_s=now_s, now=NOW)


def exited(container: Container, code: int = 0, now_s: float = 0.0) -> Container:
    return after_exit(
        container, exit_code=code, signal=0, reason="", message="", now_s=now_s, now=NOW, back_off=BackOff(10, 300)
    )


def step(pod: dict[str, Container], *, deleting: bool = False, now_s: float = 0.0) -> Decision:
    return decide(tuple(pod.values()), deleting=deleting, now_s=now_s)


def pod_of(spec: dict[str, Any] = SPEC) -> dict[str, Container]:
    return {container.name: container for container in containers_of(spec)}


def test_starts_in_order_and_a_sidecar_must_have_started() -> None:
    pod = pod_of()
    assert step(pod).start == ("prepare",)
    pod["prepare"] = started(pod["prepare"])
    assert step(pod).start == ()
    pod["prepare"] = exited(pod["prepare"])
    assert step(pod).start == ("server",)
    pod["server"] = started(pod["server"])
    assert step(pod).start == (), "its startup probe has not passed"
    pod["server"] = replace(pod["server"], has_started=True)
    assert step(pod).start == ("proxy",)
    pod["proxy"] = started(pod["proxy"])
    assert step(pod).start == ("adapter", "other")


def running_pod() -> dict[str, Container]:
    pod = pod_of()
    pod["prepare"] = exited(started(pod["prepare"]))
    for name in ("server", "proxy", "adapter", "other"):
        pod[name] = replace(started(pod[name]), has_started=True)
    return pod


def test_stops_mains_first_then_sidecars_in_reverse() -> None:
    pod = running_pod()
    assert set(step(pod, deleting=True).stop) == {"adapter", "other"}
    pod = {name: replace(c, stopping=c.kind is Kind.MAIN) for name, c in pod.items()}
    assert step(pod, deleting=True).stop == ()
    pod["adapter"], pod["other"] = exited(pod["adapter"]), exited(pod["other"])
    assert step(pod, deleting=True).stop == ("proxy",)
    pod["proxy"] = exited(pod["proxy"])
    assert step(pod, deleting=True).stop == ("server",)
    pod["server"] = exited(pod["server"])
    assert step(pod, deleting=True).over


def test_a_dead_sidecar_restarts_while_the_mains_go_on() -> None:
    pod = running_pod()
    pod["server"] = exited(pod["server"], 1)
    decision = step(pod)
    assert (decision.start, decision.stop) == (("server",), ())


def test_back_off_doubles_and_is_forgotten_after_a_steady_run() -> None:
    container = pod_of({"containers": [{"name": "a"}]})["a"]
    waits, now_s = [], 0.0
    for _ in range(4):
        container = exited(started(container, now_s), 1, now_s + 1)
        waits.append(container.retry_at_s - (now_s + 1))
        now_s = container.retry_at_s
    assert waits == [0, 10, 20, 40]
    steady = exited(started(container, now_s), 1, now_s + 600)
    assert steady.retry_at_s == now_s + 600
    decision = decide((exited(started(container, 0), 1, 1),), deleting=False, now_s=1)
    assert decision.start == ()
    assert decision.wake_at_s is not None


def test_restart_count_and_last_state() -> None:
    container = started(exited(started(pod_of()["other"]), 3))
    assert container.restarts == 1
    assert container.last is not None
    assert container.last.exit_code == 3


def test_completed_mains_end_the_sidecars() -> None:
    spec = {**SPEC, "restartPolicy": "Never"}
    pod = {name: replace(c, restart="Never" if c.kind is Kind.MAIN else c.restart) for name, c in running_pod().items()}
    del spec
    pod["adapter"], pod["other"] = exited(pod["adapter"]), exited(pod["other"])
    assert step(pod).stop == ("proxy",)


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    pod = pod_of({"restartPolicy": "Never", "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]})
    pod["i"] = exited(started(pod["i"]), 1)
    assert finished(tuple(pod.values()))
    assert step(pod).start == ()


def test_taken_over_from_a_dead_node_counts_a_restart_and_keeps_the_order() -> None:
    pod = pod_of()
    running = {"containerID": "x", "restartCount": 2, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
    done = {"containerID": "x", "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    pod = {n: taken_over(c, done if n == "prepare" else running, now=NOW) for n, c in pod.items()}
    assert step(pod).start == ("server",), "the init container is done, the order of the others holds"
    again = started(pod["server"])
    assert again.restarts == 3
    assert again.last is not None
    assert again.last.exit_code == 137


@given(st.lists(st.tuples(st.sampled_from(list(pod_of())), st.sampled_from(["exit", "crash", "started"])), max_size=40))
def test_whatever_happens_the_order_holds(history: list[tuple[str, str]]) -> None:
    pod = pod_of()
    now_s = 0.0
    for name, what in [*history]:
        now_s += 1000.0
        for begun in step(pod, now_s=now_s).start:
            assert not pod[begun].running
            index = list(pod).index(begun)
            if not any(c.kind is Kind.MAIN and c.launched for c in pod.values()):
                for earlier in list(pod.values())[:index]:
                    if earlier.kind is Kind.INIT:
                        assert earlier.ended is not None
                        assert earlier.ended.exit_code == 0
                    elif earlier.kind is Kind.SIDECAR:
                        assert earlier.has_started
            pod[begun] = started(pod[begun], now_s)
        if pod[name].running:
            if what == "started":
                pod[name] = replace(pod[name], has_started=True)
            else:
                pod[name] = exited(pod[name], 1 if what == "crash" else 0, now_s)
    ends = []
    for _ in range(2 * len(pod)):
        decision = step(pod, deleting=True, now_s=now_s)
        assert decision.start == ()
        for name in decision.stop:
            ends.append(pod[name])
            pod[name] = exited(pod[name], 143, now_s)
        if decision.over:
            break
    assert step(pod, deleting=True).over
    assert all(container.phase is not Phase.RUNNING for container in pod.values())
    kinds = [container.kind is Kind.SIDECAR for container in ends]
    assert kinds == sorted(kinds), "sidecars last"
