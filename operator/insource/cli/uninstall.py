"""`insource uninstall --drain`: no model goes on running when the release is gone, and everything can come back.

The operator is still there and does the work: ModelDeployments are scaled to 0, their pods drain. Nothing is deleted.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from insource.api import meta
from insource.env import Env, system_env
from insource.kube.client import ApiError, Client, connect
from insource.kube.resources import MODEL_DEPLOYMENTS, PODS, Key, Object, Resource, key_of

POLL_S = 0.5
PAGE = 500
SERVING_PODS = f"{meta.LABEL_MANAGED_BY}={meta.MANAGED_BY},{meta.LABEL_DEPLOYMENT}"
NEXT = f"helm uninstall insource --namespace {meta.SYSTEM_NAMESPACE}"
_ENDED = ("Failed", "Succeeded")
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Drained:
    """A ModelDeployment, and the replicas that it had been asked for before."""

    key: Key
    replicas: int


class StillRunningError(Exception):
    """Pods are left at the end of the time; the text names some of them and says what to do."""


@click.command()
@click.option("--drain", is_flag=True, help="Scale every ModelDeployment to 0, and wait until its pods have ended.")
@click.option("--kubeconfig", help="Default: $KUBECONFIG, else your own.")
@click.option("--context", help="Of the kubeconfig. Default: its current one.")
@click.option("--namespace", "-n", "namespaces", multiple=True, help="Only this namespace; may be repeated.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option(
    "--timeout", type=click.IntRange(min=1), default=4200, show_default=True, help="Seconds for the pods to drain."
)
@click.option("--json", "as_json", is_flag=True, help="What was done as JSON, with the replicas of before.")
def uninstall(
    drain: bool,
    kubeconfig: str | None,
    context: str | None,
    namespaces: tuple[str, ...],
    yes: bool,
    timeout: int,
    as_json: bool,
) -> None:
    """Stop all models before Insource is uninstalled."""
    if not drain:
        raise click.UsageError(
            f"Helm takes the programs away: `{NEXT}`. So that no model runs on, first run this with --drain."
        )
    tell: Tell = (lambda _: None) if as_json else click.echo
    try:
        done = asyncio.run(_uninstall(kubeconfig, context, namespaces, yes, timeout, tell))
    except ApiError as error:
        raise click.ClickException(f"the API server: {error}") from None
    except StillRunningError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(report(done), indent=2))
    else:
        click.echo(f"Nothing is served any more. Next: {NEXT}")


def report(done: Sequence[Drained]) -> dict[str, Any]:
    """For scripts: what was scaled to 0, from how many, and what to run next."""
    rows = [{"namespace": each.key.namespace, "name": each.key.name, "replicas": each.replicas} for each in done]
    return {"drained": rows, "next": NEXT}


async def _uninstall(
    kubeconfig: str | None, context: str | None, namespaces: tuple[str, ...], yes: bool, timeout_s: int, tell: Tell
) -> list[Drained]:
    env = system_env()
    async with await connect(kubeconfig, env, context=context) as client:
        wanted = await to_drain(client, namespaces)
        if wanted and not yes:
            _ask(wanted)
        return await drain_all(client, env, wanted, namespaces, timeout_s, tell)


def _ask(wanted: Sequence[Drained]) -> None:
    names = ", ".join(str(each.key) for each in wanted[:5]) + (", ..." if len(wanted) > 5 else "")
    if not sys.stdin.isatty():
        raise click.UsageError(f"this stops {len(wanted)} ModelDeployments ({names}): say --yes if that is meant")
    click.confirm(f"This stops {len(wanted)} ModelDeployments ({names}). Go on?", abort=True, err=True)


async def to_drain(client: Client, namespaces: Sequence[str]) -> list[Drained]:
    """Those that are asked to run, in these namespaces, or in all. Raises ApiError."""
    found = [
        Drained(key_of(each), int(each["spec"].get("replicas", 1)))
        async for each in _listed(client, MODEL_DEPLOYMENTS, namespaces)
    ]
    return sorted((each for each in found if each.replicas), key=lambda each: each.key)


async def drain_all(
    client: Client, env: Env, wanted: Sequence[Drained], namespaces: Sequence[str], timeout_s: float, tell: Tell
) -> list[Drained]:
    """Scale them to 0 and wait for the end of every serving pod. Repeatable. Raises ApiError and StillRunningError."""
    done = []
    for each in wanted:
        try:
            await client.merge_patch(MODEL_DEPLOYMENTS, each.key.name, each.key.namespace, {"spec": {"replicas": 0}})
        except ApiError as error:
            if error.status != 404:
                raise
            continue  # somebody has deleted it meanwhile: its pods go, too
        done.append(each)
        tell(f"{each.key}: {each.replicas} -> 0")
    deadline = env.clock.monotonic() + timeout_s
    before = -1
    while left := await _serving(client, namespaces):
        if len(left) != before:
            before = len(left)
            tell(f"{_pods(before)} draining")
        if env.clock.monotonic() > deadline:
            names = ", ".join(map(str, left[:5])) + (", ..." if before > 5 else "")
            raise StillRunningError(
                f"{_pods(before)} still there after {timeout_s:.0f} s: {names}. Is the operator running "
                f"(`kubectl -n {meta.SYSTEM_NAMESPACE} get pods`)? This command can be run again."
            )
        await env.clock.sleep(POLL_S)
    return done


def _pods(count: int) -> str:
    return "1 pod is" if count == 1 else f"{count} pods are"


async def _serving(client: Client, namespaces: Sequence[str]) -> list[Key]:
    # An evicted pod has ended, but stays: no controller counts it, so none deletes it when it scales to 0.
    pods = [pod async for pod in _listed(client, PODS, namespaces, SERVING_PODS)]
    return sorted(key_of(pod) for pod in pods if pod.get("status", {}).get("phase") not in _ENDED)


async def _listed(
    client: Client, resource: Resource, namespaces: Sequence[str], labels: str = ""
) -> AsyncIterator[Object]:
    """Page by page, in these namespaces, or in all."""
    for namespace in namespaces or ("",):
        token = ""
        while True:
            page = await client.list(resource, namespace, labels=labels, limit=PAGE, continue_token=token)
            for each in page.items:
                yield each
            token = page.continue_token
            if not token:
                break
