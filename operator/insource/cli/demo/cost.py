"""Step `cost`: what the ledger says it all cost, in-house and at the vendor."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from insource.cli.cost import render_cost
from insource.cli.demo.scene import NAMESPACE, Scene

SHIPPED_TIMEOUT_S = 20


async def cost(scene: Scene) -> None:
    """Print the cost table once every request of this run has reached the ledger."""
    scene.say("\n[bold]insource cost[/bold]")
    expected_s = sum(row["audio_s"] for row in scene.seen.get("transcripts", []))
    await scene.wait("waiting for the last records", lambda: missing(scene, expected_s), timeout_s=SHIPPED_TIMEOUT_S)
    report = scene.ledger("/v1/cost", namespace=NAMESPACE)
    scene.console.print(render_cost(report))
    scene.say(
        "[dim]In-house cost is the whole life of its pods, idle time included: with a handful of clips the idle time "
        "is nearly all of it, and the vendor is cheaper. `break-even` says from which load on it is not.[/dim]"
    )
    scene.seen["cost"] = report
    scene.seen["cost_at"] = datetime.fromtimestamp(scene.clock.now().timestamp(), UTC).isoformat()


def missing(scene: Scene, expected_s: float) -> str | None:
    """None once the ledger has at least this much audio."""
    known_s = audio_seconds(scene.ledger("/v1/cost", namespace=NAMESPACE))
    return None if known_s >= expected_s * 0.99 else f"{known_s:.1f} of {expected_s:.1f} audio seconds"


def audio_seconds(report: dict[str, Any]) -> float:
    """All measured audio of a cost report, in seconds."""
    return sum(float(row["audio_seconds"]) for row in report["rows"])
