"""Step `cost`: what the ledger says it all cost, in-house and at the vendor."""

from __future__ import annotations

from datetime import UTC, datetime

from insource.cli.cost import print_cost
from insource.cli.demo.scene import NAMESPACE, Scene

SHIPPED_TIMEOUT_S = 20


async def cost(scene: Scene) -> None:
    """Print the cost table once every request of this run has reached the ledger."""
    scene.say("\n[bold]insource cost[/bold]")
    unseen = list(dict.fromkeys(scene.requests))
    await scene.wait("waiting for the last records", lambda: missing(scene, unseen), timeout_s=SHIPPED_TIMEOUT_S)
    report = scene.ledger("/v1/cost", namespace=NAMESPACE)
    print_cost(scene.console, report)
    scene.say(
        "[dim]In-house cost is the whole life of its pods, idle time included: with a few requests the idle time "
        "is nearly all of it. `breaks even` says from which load on it is not.[/dim]"
    )
    scene.seen["cost"] = report
    scene.seen["cost_at"] = datetime.fromtimestamp(scene.clock.now().timestamp(), UTC).isoformat()


def missing(scene: Scene, unseen: list[str]) -> str | None:
    """None once the ledger has the served attempt of each of these requests; takes out of the list what it has."""
    for request_id in list(unseen):
        rows = scene.ledger("/v1/attempts", namespace=NAMESPACE, request_id=request_id)["attempts"]
        if any(row["outcome"] == "ok" and row["measured"] for row in rows):
            unseen.remove(request_id)
    return f"{len(unseen)} requests are not there yet" if unseen else None
