"""Every program killed -9 under load: it comes back by itself, and no usage is lost or doubled.

A stub server stands where the recogniser would, because no CPU transcribes 20 clips a second. Beside the deployment
that is served in-house there is one that a vendor serves, so that the vendor's side has work when it is killed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from insource.servers.counts import read_counts
from insource.wire.records import attempt_id
from tests.e2e.installation import Installation, deployment, eventually, stub_model, stub_runtime
from tests.e2e.load import AUDIO, Answer, Load

SECONDS_EACH = float(os.environ.get("INSOURCE_KILL_SECONDS", "9"))
"""At least so long under load for each victim; seven of them make the minute."""
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.kills,
    pytest.mark.timeout(400 + 10 * SECONDS_EACH),
    pytest.mark.xdist_group("e2e-kills"),
]
ENVIRONMENT = {"INSOURCE_EMULATOR_ENGINE": "echo", "INSOURCE_EMULATOR_REQUESTS_PER_MINUTE": "100000"}
RATE_PER_S = 20
VENDOR_RATE_PER_S = 4
IN_HOUSE, BOUGHT = "killed", "bought"
MOST_ROWS = "10000"

Row = dict[str, Any]


def container_pid(installation: Installation, program: str, selector: str) -> int:
    """The process of one container of the pods that match."""
    pods = installation.get("pods", "-n", "voice", "-l", selector)["items"]
    addresses = {pod["status"].get("podIP") for pod in pods}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            environment = dict(
                entry.split(b"=", 1) for entry in (folder / "environ").read_bytes().split(b"\0") if b"=" in entry
            )
        except OSError:
            continue
        runs = b"insource" in arguments and program.encode() in arguments
        if runs and environment.get(b"POD_IP", b"").decode() in addresses:
            return int(folder.name)
    raise AssertionError(f"no process of {program} in a pod of {selector}")


@dataclass(frozen=True)
class Victim:
    """Who is killed, and which clients may notice."""

    find: Callable[[Installation], int]
    may_fail: frozenset[str] = frozenset()
    """Deployments whose clients may get an error while it is away; the others' may not."""


def child(name: str) -> Callable[[Installation], int]:
    return lambda installation: int(installation.state["processes"][name])


def container(program: str, selector: str) -> Callable[[Installation], int]:
    return lambda installation: container_pid(installation, program, selector)


VICTIMS = {
    # The vendor takes over what the in-house pod cannot, also what was in flight.
    "server": Victim(container("server", f"insource.dev/deployment={IN_HOUSE}")),
    "adapter": Victim(container("adapter", f"insource.dev/deployment={IN_HOUSE}")),
    # The vendor itself, and the only way to it: who has no other backend must wait for them.
    "emulator": Victim(child("emulator"), frozenset({BOUGHT})),
    "vendor adapter": Victim(container("adapter", "insource.dev/vendor=openai"), frozenset({BOUGHT})),
    # None of these is in a request's way.
    "agent": Victim(child("agent")),
    "ledger": Victim(child("ledger")),
    "operator": Victim(child("operator")),
    "envoy": Victim(child("envoy"), frozenset({IN_HOUSE, BOUGHT})),
}


def bought() -> dict[str, Any]:
    """A deployment that only the vendor serves."""
    served = deployment(BOUGHT)
    served["spec"]["backends"] = [each for each in served["spec"]["backends"] if "vendor" in each]
    served["spec"]["traffic"] = {"primary": "openai"}
    del served["spec"]["replicas"]
    return served


@pytest.fixture
def served(installation: Installation) -> Installation:
    runtime = stub_runtime(STUB_COUNT_FILE="/tmp/stub-count", STUB_DELAY_MS="20")
    installation.apply(runtime, stub_model(), deployment(IN_HOUSE), bought())
    for name in (IN_HOUSE, BOUGHT):
        installation.wait_ready(name)
        eventually(
            lambda name=name: installation.post(name, audio=AUDIO).status_code == 200, timeout_s=90, what="not serving"
        )
    return installation


def count_file_of(served: Installation) -> Path:
    """The file in the /tmp of the pod, which outlives its containers."""
    (file,) = served.data.glob("cluster/node/pods/*/volumes/tmp/stub-count")
    return file


def test_usage_is_whole_whatever_is_killed(served: Installation) -> None:
    count_file = count_file_of(served)
    complaints: list[str] = []
    with Load(served, IN_HOUSE, RATE_PER_S) as in_house, Load(served, BOUGHT, VENDOR_RATE_PER_S) as vendor:
        loads = {IN_HOUSE: in_house, BOUGHT: vendor}
        for name, victim in VICTIMS.items():
            began = time.monotonic()
            kill(served, name, victim)
            threading.Event().wait(max(0.0, began + SECONDS_EACH - time.monotonic()))
            everything_works(served, loads, count_file, name)
            complaints += noticed(name, victim, loads, began, time.monotonic())
    for deployment_name in loads:
        served.wait_ready(deployment_name)
    assert not complaints, "\n".join(complaints)
    compare(
        served, count_file, {each.request_id for load in loads.values() for each in load.answers if each.status == 200}
    )


def kill(served: Installation, name: str, victim: Victim) -> None:
    """SIGKILL, and wait until another one is in its place."""
    before = victim.find(served)
    os.kill(before, signal.SIGKILL)

    def replaced() -> bool:
        try:
            return victim.find(served) != before
        except AssertionError:
            return False

    eventually(replaced, timeout_s=90, what=f"{name} did not come back")


def everything_works(served: Installation, loads: dict[str, Load], count_file: Path, name: str) -> None:
    """Whoever was killed does its work again: the last answers are good, and from where they should come."""
    began = time.monotonic()

    def well() -> bool:
        fresh = {key: [each for each in load.answers[-40:] if each.began > began] for key, load in loads.items()}
        counted = {line["request_id"] for line in read_counts(count_file)[-200:] if line["event"] == "completed"}
        return all(
            len(answers) > 3 and all(each.status == 200 for each in answers[-3:]) for answers in fresh.values()
        ) and all(each.request_id in counted for each in fresh[IN_HOUSE][-3:])

    eventually(well, timeout_s=90, what=f"after the kill of {name} things are not as before")
    served.wait_ready(IN_HOUSE)


def noticed(name: str, victim: Victim, loads: dict[str, Load], since: float, until: float) -> list[str]:
    """Errors that clients got, though they should not have."""
    complaints = []
    for deployment_name, load in loads.items():
        answers = load.during(since, until)
        bad = [each for each in answers if each.status != 200]
        print(f"{name:15} {deployment_name:8} {summary(answers)} for {until - since:.1f} s{trouble(bad, since)}")
        if bad and deployment_name not in victim.may_fail:
            complaints.append(f"killed {name}: clients of {deployment_name} noticed{trouble(bad, since)}")
    return complaints


def summary(answers: list[Answer]) -> str:
    return " ".join(f"{status}:{count}" for status, count in sorted(Counter(each.status for each in answers).items()))


def trouble(bad: list[Answer], since: float) -> str:
    """When the errors began and ended after the kill, and the first one."""
    if not bad:
        return ""
    first, last = bad[0].began - since, bad[-1].ended - since
    return f"; {len(bad)} errors, {first:.1f} to {last:.1f} s after it, first {bad[0].what}"


def ledger_rows(served: Installation) -> list[Row]:
    rows: list[Row] = []
    for name in (IN_HOUSE, BOUGHT):
        found = served.ledger("/v1/attempts", namespace="voice", deployment=name, limit=MOST_ROWS)["attempts"]
        assert len(found) < int(MOST_ROWS), "more rows than one answer holds"
        rows += found
    return rows


def compare(served: Installation, count_file: Path, answered: set[str]) -> None:
    """In-house server's own count and the emulator's meter against the ledger's rows, attempt by attempt."""
    # A row is pending until both sides have reported, or the time for it is over (then it is `unknown`).
    last: list[str] = ["never compared"]

    def settled() -> bool:
        rows = ledger_rows(served)
        pending = [f"{row['attempt_id']} is still pending" for row in rows if row["outcome"] == "pending"]
        last[:] = pending + differences(rows, count_file, served.emulator_meter()["lines"], answered)
        return not last

    eventually(settled, timeout_s=90, what=lambda: f"{len(last)} differences: " + "\n".join(last[:10]))

    rows = ledger_rows(served)
    unknown = [row for row in rows if row["outcome"] == "unknown"]
    print(f"{len(rows)} rows: {dict(Counter((row['backend'], row['outcome']) for row in rows))}")
    for row in unknown:
        print(brief(row))


def differences(rows: list[Row], count_file: Path, billed: list[Row], answered: set[str]) -> list[str]:
    """Everything that is in one book and not in the other."""
    by_id = {row["attempt_id"]: row for row in rows}
    found = [
        f"{count} rows of attempt {id_}" for id_, count in Counter(r["attempt_id"] for r in rows).items() if count > 1
    ]
    # The adapter's own warm-up is no attempt, and no ledger row may tell of it.
    begun = [line for line in read_counts(count_file) if line["event"] == "begun"]
    attempts = [line for line in begun if not line["request_id"].startswith("probe-")]
    assert all(line["attempt"] for line in attempts), "the server was not told which attempt it serves"
    counted = [attempt_id(line["request_id"], line["hop"], int(line["attempt"])) for line in attempts]
    sold = [line["client_request_id"] for line in billed]
    for backend, theirs in (("inhouse", counted), ("openai", sold)):
        for id_, count in Counter(theirs).items():
            row = by_id.get(id_)
            if row is None or row["backend"] != backend:
                found.append(f"{backend} counted {id_}, the ledger has no row")
            if count > 1:
                found.append(f"{backend} counted {id_} {count} times")
        served = {row["attempt_id"] for row in rows if row["backend"] == backend and row["outcome"] == "ok"}
        found += [
            f"the ledger says that {backend} served {id_}, which it did not count" for id_ in served - set(theirs)
        ]
    found += [
        f"{row['attempt_id']} took {row['measured']} and was billed {row['billed']}"
        for row in rows
        if row["outcome"] == "ok" and not right_amount(row)
    ]
    of_request: dict[str, list[Row]] = {}
    for row in rows:
        of_request.setdefault(row["request_id"], []).append(row)
    for id_ in answered:
        tries = of_request.get(id_, [])
        if not any(row["outcome"] == "ok" for row in tries):
            found.append(f"the client has an answer to {id_}, the ledger has {[brief(row) for row in tries]}")
    return found


def brief(row: Row) -> str:
    told = [
        "attempt_id",
        "backend",
        "role",
        "outcome",
        "reason",
        "recorded",
        "sighted",
        "sighted_outcome",
        "flags",
        "started_at",
        "pod",
    ]
    return " ".join(f"{name}={row.get(name)}" for name in told)


def right_amount(row: Row) -> bool:
    """The clip's length, within 1 %; a vendor bills whole seconds."""
    clip_ms = (len(AUDIO) - 44) / 32
    measured = row["measured"].get("audio_ms", 0)
    billed = row["billed"].get("audio_ms")
    return abs(measured - clip_ms) <= clip_ms / 100 and (
        billed == -(-int(clip_ms) // 1000) * 1000 if row["backend"] == "openai" else billed is None
    )
