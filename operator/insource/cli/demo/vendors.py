"""Step `vendors`: the same five kinds of work bought, Microsoft's MAI models among them, and what each has cost."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml
from rich.table import Table

from insource.cli.cost import work_done
from insource.cli.demo.cost import SHIPPED_TIMEOUT_S, missing
from insource.cli.demo.deploy import unready
from insource.cli.demo.scene import (
    CODE,
    IMAGE,
    IMAGE_MAI,
    NAMESPACE,
    RETRIEVAL,
    SPEECH,
    SPEECH_MAI,
    TRANSCRIPTION,
    TRANSCRIPTION_MAI,
    Example,
    Scene,
)

READY_TIMEOUT_S = 60
SENTENCE = "The train to the city leaves at seven in the morning."
VOICE = "en-US-Harper"
PROMPT = "a large red star on a white background"
TWIN = "-bought"


@dataclass(frozen=True)
class Bought:
    """One kind of work: where it is done in-house, where it is bought, and the SDK's call that buys it."""

    work: str
    in_house: Example
    bought: Example
    call: Callable[[Any, Scene], Any]


async def vendors(scene: Scene) -> None:
    """Buy each kind of work once; fail unless a vendor serves it and the ledger has a price for it."""
    scene.say("\n[bold]The same work, bought[/bold]: MAI models at Azure, text and retrieval at OpenAI (all emulated)")
    twins = tuple(each.bought for each in BOUGHT if each.bought.name.endswith(TWIN))
    scene.kubectl("apply", "-f", write_twins(scene, twins))
    await scene.wait("waiting for Ready", lambda: unready(scene, twins), timeout_s=READY_TIMEOUT_S)
    requests: dict[str, str] = {}
    for each in BOUGHT:
        client = scene.client(each.bought)
        raw, _ = await scene.work(f"buying {each.work}", lambda each=each, client=client: each.call(client, scene))  # type: ignore[misc]
        requests[each.work] = scene.served(raw)
    unseen = list(requests.values())
    await scene.wait("waiting for the records", lambda: missing(scene, unseen), timeout_s=SHIPPED_TIMEOUT_S)
    attempts = {work: attempt_of(scene, request_id) for work, request_id in requests.items()}
    in_house = in_house_rows(scene)
    scene.console.print(compared(scene, in_house, attempts))
    scene.say("[dim]`busy` leaves out the pod's idle time, which is most of it here: `insource cost` has both.[/dim]")
    scene.seen["vendors"] = [{"work": work, **attempt} for work, attempt in attempts.items()]
    for work, attempt in attempts.items():
        scene.expect(attempt["backend_kind"] == "vendor", f"{work} was served by {attempt['backend']}, not by a vendor")
        scene.expect(spent(attempt) > 0, f"{work} has no price at {attempt['vendor']} {attempt['model']}")


def write_twins(scene: Scene, twins: tuple[Example, ...]) -> str:
    """The examples as somebody has them who still buys, in one file; its path."""
    objects = []
    for example in twins:
        found = deployment_in(scene, example)
        found["metadata"]["name"] = example.name
        backends = [each for each in found["spec"]["backends"] if "vendor" in each]
        found["spec"] |= {"backends": backends, "traffic": {"primary": backends[0]["name"]}}
        objects.append(found)
    path = scene.folder / "bought.yaml"
    path.write_text(yaml.safe_dump_all(objects, sort_keys=False))
    return str(path)


def deployment_in(scene: Scene, example: Example) -> dict[str, Any]:
    """The ModelDeployment of an example's file."""
    objects = yaml.safe_load_all((scene.examples / example.file).read_text())
    found: dict[str, Any] = next(each for each in objects if each["kind"] == "ModelDeployment")
    return found


def attempt_of(scene: Scene, request_id: str) -> dict[str, Any]:
    """The ledger's row of the attempt that served this request."""
    rows = scene.ledger("/v1/attempts", namespace=NAMESPACE, request_id=request_id)["attempts"]
    return next(dict(row) for row in rows if row["outcome"] == "ok")


def in_house_rows(scene: Scene) -> dict[str, dict[str, Any]]:
    """By deployment: the cost report's row of its in-house backend."""
    rows = scene.ledger("/v1/cost", namespace=NAMESPACE, by="backend")["rows"]
    return {row["deployment"]: row for row in rows if row["backend"] == "inhouse"}


def spent(attempt: Mapping[str, Any]) -> Decimal:
    """What one attempt has cost at its vendor; 0 where no unit of it has a price."""
    return sum((Decimal(charge["amount"]) for charge in attempt["charges"] if charge["amount"]), Decimal())


def compared(scene: Scene, in_house: Mapping[str, Any], attempts: Mapping[str, Mapping[str, Any]]) -> Table:
    """A line for each kind of work: what was done in-house in this run, and what was bought."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("", "IN-HOUSE", "WORK", "BUSY [USD]", "VENDOR", "WORK", "COST [USD]"):
        names = header in ("IN-HOUSE", "VENDOR")
        table.add_column(header, justify="right" if "USD" in header else "left", no_wrap=names, overflow="fold")
    for each in BOUGHT:
        attempt, row = attempts[each.work], in_house.get(each.in_house.name)
        backends = deployment_in(scene, each.in_house)["spec"]["backends"]
        model = next(backend["inHouse"]["model"] for backend in backends if "inHouse" in backend)
        done = {unit: {"measured": quantity} for unit, quantity in attempt["measured"].items()}
        table.add_row(
            each.work,
            model if row else "-",
            work_done(row["work"]) if row else "-",
            f"{Decimal(row['in_house']['busy']):.9f}" if row else "-",
            f"{attempt['vendor']} {attempt['model']}",
            work_done(done),
            f"{spent(attempt):.9f}",
        )
    return table


def hear(client: Any, scene: Scene) -> Any:
    """One clip."""
    return client.audio.transcriptions.with_raw_response.create(file=scene.clips[0], model="whisper-1")


def speak(client: Any, scene: Scene) -> Any:
    """One sentence, saved."""
    raw = client.audio.speech.with_raw_response.create(
        model="tts-1", voice=VOICE, input=SENTENCE, response_format="wav"
    )
    (scene.folder / "speech-bought.wav").write_bytes(raw.content)
    return raw


def draw(client: Any, scene: Scene) -> Any:
    """One picture, saved."""
    raw = client.images.with_raw_response.generate(model="gpt-image-2", prompt=PROMPT, size="1024x1024")
    (scene.folder / "picture-bought.png").write_bytes(base64.b64decode(raw.parse().data[0].b64_json))
    return raw


def complete(client: Any, scene: Scene) -> Any:
    """Code, by a chat: OpenAI sells no completions any more."""
    del scene
    messages = [{"role": "user", "content": f"Continue: {json.dumps('def add(a, b):')}"}]
    return client.chat.completions.with_raw_response.create(model="gpt-6-luna", messages=messages, max_tokens=24)


def embed(client: Any, scene: Scene) -> Any:
    """One question."""
    del scene
    return client.embeddings.with_raw_response.create(model="text-embedding-3-small", input="When does it leave?")


BOUGHT = (
    Bought("transcription", TRANSCRIPTION, TRANSCRIPTION_MAI, hear),
    Bought("speech", SPEECH, SPEECH_MAI, speak),
    Bought("pictures", IMAGE, IMAGE_MAI, draw),
    Bought("text", CODE, Example(CODE.file, f"{CODE.name}{TWIN}"), complete),
    Bought("retrieval", RETRIEVAL, Example(RETRIEVAL.file, f"{RETRIEVAL.name}{TWIN}"), embed),
)
