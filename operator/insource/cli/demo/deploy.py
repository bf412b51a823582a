"""Step `deploy`: `kubectl apply` of the examples, all at once, and their way to Ready."""

from __future__ import annotations

from typing import Any

from insource.cli.demo.scene import NAMESPACE, Example, Scene

READY_TIMEOUT_S = 180


async def deploy(scene: Scene, examples: tuple[Example, ...]) -> None:
    """Apply these examples and wait until each is Ready."""
    started = scene.clock.monotonic()
    scene.say("\n[bold]kubectl apply " + " ".join(f"-f examples/{each.file}" for each in examples) + "[/bold]")
    files = [argument for example in examples for argument in ("-f", str(scene.examples / example.file))]
    scene.kubectl("apply", *files)
    await scene.wait("waiting for Ready", lambda: unready(scene, examples), timeout_s=READY_TIMEOUT_S)
    took_s = scene.clock.monotonic() - started
    scene.say(scene.kubectl("get", "mdep", "-n", NAMESPACE).rstrip())
    scene.say(f"Ready after {took_s:.1f} s")
    scene.seen["ready_after_s"] = round(took_s, 2)


def unready(scene: Scene, examples: tuple[Example, ...]) -> str | None:
    """None once all of these are Ready; otherwise what the first that is not says of itself."""
    for example in examples:
        reason = unready_reason(scene, example.name)
        if reason is not None:
            return f"{example.name}: {reason}"
    return None


def unready_reason(scene: Scene, name: str) -> str | None:
    """None if the ModelDeployment is Ready for its present generation; otherwise what it says of itself."""
    deployment = scene.get("mdep", name, "-n", NAMESPACE)
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
