"""Step `deploy`: `kubectl apply` of the example, and its way to Ready."""

from __future__ import annotations

from typing import Any

from insource.cli.demo.scene import NAME, NAMESPACE, Scene

READY_TIMEOUT_S = 90


async def deploy(scene: Scene) -> None:
    """Apply `examples/transcription.yaml` and wait until it is Ready."""
    example = scene.examples / "transcription.yaml"
    scene.say("\n[bold]kubectl apply -f examples/transcription.yaml[/bold]")
    started = scene.clock.monotonic()
    scene.say(f"[dim]{scene.kubectl('apply', '-f', str(example)).strip()}[/dim]")
    await scene.wait("waiting for Ready", lambda: unready_reason(scene), timeout_s=READY_TIMEOUT_S)
    took_s = scene.clock.monotonic() - started
    scene.say(scene.kubectl("get", "mdep", "-n", NAMESPACE).rstrip())
    scene.say(f"Ready after {took_s:.1f} s")
    scene.seen["ready_after_s"] = round(took_s, 2)


def unready_reason(scene: Scene) -> str | None:
    """None if the ModelDeployment is Ready for its present generation; otherwise what it says of itself."""
    deployment = scene.get("mdep", NAME, "-n", NAMESPACE)
    condition = ready_condition(deployment)
    if (
        condition.get("status") == "True"
        and condition.get("observedGeneration") == deployment["metadata"]["generation"]
    ):
        return None
    return str(condition.get("message") or condition.get("reason") or "no status yet")


def ready_condition(deployment: dict[str, Any]) -> dict[str, Any]:
    """The Ready condition, or an empty dict."""
    conditions = deployment.get("status", {}).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == "Ready"), {})
