"""Step `failover`: kill the in-house server, see who answers the next request attempt by attempt, and the healing."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from insource.api import meta
from insource.cli.demo.deploy import unready_reason
from insource.cli.demo.scene import NAME, NAMESPACE, TRANSCRIPTION, Scene
from insource.cli.demo.transcribe import Transcript, transcribe_clip
from insource.gateway.log_lines import Request, parse_lines
from insource.wire.records import attempt_id
from insource.wire.vocabulary import Role

HEAL_TIMEOUT_S = 60
RECORD_TIMEOUT_S = 20


@dataclass(frozen=True)
class SeenAttempt:
    """One attempt, as one of the two books has it."""

    attempt_id: str
    backend: str
    role: str
    outcome: str


async def failover(scene: Scene) -> None:
    """Kill -9 the model server, send a request at once, compare ledger and Envoy's log, wait for the healing."""
    scene.say("\n[bold]kill -9[/bold] of the in-house model server, and one request right after it")
    client = scene.client(TRANSCRIPTION)
    killed = kill_server(scene)
    started = scene.clock.monotonic()
    scene.say(f"killed process {killed}")
    answer = await asyncio.to_thread(transcribe_clip, client, scene.clips[0], scene)
    scene.say(f"answered in {answer.took_s:.2f} s: {answer.text}")
    await show_attempts(scene, answer)
    await scene.wait("waiting for the healing", lambda: unhealed_reason(scene), timeout_s=HEAL_TIMEOUT_S)
    healed_s = scene.clock.monotonic() - started
    again = await asyncio.to_thread(transcribe_clip, client, scene.clips[0], scene)
    attempts = await both_books(scene, again)
    backend = attempts[-1].backend
    scene.say(f"healed within {healed_s:.1f} s of the kill; the next request was answered by [bold]{backend}[/bold]")
    scene.seen["healing"] = {"after_s": round(healed_s, 2), "answered_by": backend, "wer": again.wer}
    scene.expect(backend == "inhouse", f"after the healing {backend} answered, not inhouse")


async def show_attempts(scene: Scene, answer: Transcript) -> None:
    """Print the request's attempts; fail unless both books agree and the vendor answered."""
    attempts = await both_books(scene, answer)
    table = Table(box=None, pad_edge=False, title="attempts of this request, in the ledger and in Envoy's log alike")
    for header in ("attempt", "role", "backend", "outcome"):
        table.add_column(header)
    for attempt in attempts:
        colour = "green" if attempt.outcome == "ok" else "red"
        table.add_row(
            attempt.attempt_id[-12:], attempt.role, attempt.backend, f"[{colour}]{attempt.outcome}[/{colour}]"
        )
    scene.console.print(table)
    scene.seen["failover"] = {**asdict(answer), "attempts": [asdict(attempt) for attempt in attempts]}
    last = attempts[-1]
    scene.expect(
        (last.role, last.outcome) == (Role.SPILL, "ok"),
        f"the vendor was expected to answer; the last attempt was {last.role} at {last.backend}: {last.outcome}",
    )


async def both_books(scene: Scene, answer: Transcript) -> list[SeenAttempt]:
    """The request's attempts, once the ledger's rows and Envoy's own log say the same; fails if they never do."""

    def difference() -> str | None:
        ledger, envoy = from_ledger(scene, answer.request_id), from_envoy(scene, answer.request_id)
        if not envoy:
            return "nothing in Envoy's log yet"
        ours = [(row.attempt_id, row.backend, row.role, row.outcome) for row in ledger]
        theirs = [(row.attempt_id, row.backend, row.role, row.outcome) for row in envoy]
        return None if ours == theirs else f"the ledger has {ours}, Envoy's log {theirs}"

    await scene.wait("comparing the ledger with Envoy's log", difference, timeout_s=RECORD_TIMEOUT_S)
    return from_ledger(scene, answer.request_id)


def from_ledger(scene: Scene, request_id: str) -> list[SeenAttempt]:
    """The ledger's rows of one request, in order."""
    rows = scene.ledger("/v1/attempts", namespace=NAMESPACE, deployment=NAME, request_id=request_id)["attempts"]
    seen = [SeenAttempt(row["attempt_id"], row["backend"], row["role"], row["outcome"]) for row in rows]
    return sorted(seen, key=lambda row: row.attempt_id)


def from_envoy(scene: Scene, request_id: str) -> list[SeenAttempt]:
    """The same request in Envoy's log, read from the file itself and not from what the agent made of it."""
    return attempts_in((scene.layout.gateway / "access.log").read_bytes(), request_id)


def attempts_in(log: bytes, request_id: str) -> list[SeenAttempt]:
    """The attempts of one request in these lines of Envoy's log, in order."""
    whole = log[: log.rfind(b"\n") + 1]
    lines = [line for line in whole.splitlines(keepends=True) if request_id.encode() in line]
    seen: dict[str, SeenAttempt] = {}
    for line in parse_lines(b"".join(lines))[0]:
        # A request's line also tells its last attempt, which has a line of its own only if there was more to tell.
        attempt = line.last if isinstance(line, Request) else line
        if attempt.number and attempt.role:
            id_ = attempt_id(attempt.request_id, attempt.hop, attempt.number)
            seen[id_] = SeenAttempt(id_, attempt.backend, attempt.role, attempt.word)
    return [seen[id_] for id_ in sorted(seen)]


def kill_server(scene: Scene) -> int:
    """Kill -9 the process of the in-house `server` container; its process id."""
    selector = f"{meta.LABEL_DEPLOYMENT}={NAME}"
    pods = scene.get("pods", "-n", NAMESPACE, "-l", selector)["items"]
    addresses = {pod["status"]["podIP"] for pod in pods if pod.get("status", {}).get("podIP")}
    victims = [pid for pid in processes_of("server") if environment_of(pid).get("POD_IP") in addresses]
    scene.expect(len(victims) == 1, f"expected one model server of {NAME}, found {len(victims)}")
    os.kill(victims[0], signal.SIGKILL)
    return victims[0]


def processes_of(program: str) -> list[int]:
    """Process ids that run `insource <program>`."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"insource" in arguments and program.encode() in arguments:
            found.append(int(folder.name))
    return found


def environment_of(pid: int) -> dict[str, str]:
    """A process's environment at its start; empty if it has gone."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in raw.split(b"\0") if b"=" in entry)
    return {key.decode(): value.decode(errors="replace") for key, _, value in pairs}


def unhealed_reason(scene: Scene) -> str | None:
    """None once the in-house pod is Ready again and the ModelDeployment says so."""
    pods = scene.get("pods", "-n", NAMESPACE, "-l", f"{meta.LABEL_DEPLOYMENT}={NAME}")["items"]
    for pod in pods:
        conditions = {entry["type"]: entry["status"] for entry in pod.get("status", {}).get("conditions", [])}
        if conditions.get("Ready") != "True":
            return f"pod {pod['metadata']['name']} is not ready yet"
    return unready_reason(scene, NAME)
