"""`insource status`: the ModelDeployments of a running installation, as a table or as data."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from insource.cli.state import Layout, data_option
from insource.env import system_env
from insource.kube.client import ApiError, connect
from insource.kube.resources import MODEL_DEPLOYMENTS, VENDORS


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead of a table.")
@data_option
def status(as_json: bool, data: Path) -> None:
    """Show the ModelDeployments and whether they are ready."""
    layout = Layout(data)
    state = layout.require_running()
    try:
        rows = asyncio.run(read(layout, state.gateway_url))
    except ApiError as error:
        log = layout.logs / "cluster.log"
        raise click.ClickException(
            f"the API server does not answer ({error}): try again in a moment, see {log}"
        ) from None
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    console = Console()
    if not rows:
        console.print("no ModelDeployment yet: `kubectl apply -f examples/transcription.yaml`")
        return
    console.print(render_status(rows))
    for warning in dict.fromkeys(warning for row in rows for warning in row["warnings"]):
        console.print(Text(warning, style="yellow"))


async def read(layout: Layout, gateway_url: str) -> list[dict[str, Any]]:
    """One row for each ModelDeployment of every namespace."""
    client = await connect(str(layout.kubeconfig), system_env())
    try:
        deployments = await client.list(MODEL_DEPLOYMENTS)
        vendors = await client.list(VENDORS)
    finally:
        await client.close()
    warnings = vendor_warnings(vendors.items)
    return [row_of(item, gateway_url, warnings) for item in deployments.items]


def vendor_warnings(vendors: Iterable[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """(namespace, name) of each Vendor that does not go on serving the models in use -> what its owner should know."""
    found = {}
    for vendor in vendors:
        metadata = vendor["metadata"]
        for condition in vendor.get("status", {}).get("conditions", []):
            if condition["type"] == "ModelsOffered" and condition["status"] == "False":
                words = f"{condition['reason']}: {condition['message']}"
                found[metadata["namespace"], metadata["name"]] = (
                    f"Vendor {metadata['namespace']}/{metadata['name']}: {words}"
                )
    return found


def row_of(deployment: dict[str, Any], gateway_url: str, warnings: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """What `status` tells of one ModelDeployment; `ready` only if it is so for the present generation.

    `warnings` are those of Vendors; a ModelDeployment shows those of the Vendors it names.
    """
    metadata, spec, status = deployment["metadata"], deployment["spec"], deployment.get("status", {})
    conditions: list[dict[str, Any]] = status.get("conditions", [])
    vendors = dict.fromkeys(backend["vendor"]["name"] for backend in spec["backends"] if backend.get("vendor"))
    keys = [(metadata["namespace"], name) for name in vendors]
    ready = next((condition for condition in conditions if condition["type"] == "Ready"), {})
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "modality": spec["modality"],
        "ready": ready.get("status") == "True" and ready.get("observedGeneration") == metadata["generation"],
        "primary": spec["traffic"]["primary"],
        "replicas": status.get("replicas", 0),
        "reason": ready.get("reason", "NotObserved"),
        "message": ready.get("message", ""),
        "warnings": [warnings[key] for key in keys if key in warnings],
        "base_url": f"{gateway_url}/{metadata['namespace']}/{metadata['name']}/v1",
    }


def render_status(rows: list[dict[str, Any]]) -> Table:
    """The rows as a table for a person."""
    table = Table(box=None, pad_edge=False)
    for header in ("NAMESPACE", "NAME", "MODALITY", "READY", "PRIMARY"):
        table.add_column(header, no_wrap=True)
    table.add_column("REPLICAS", justify="right")
    table.add_column("REASON")
    table.add_column("BASE URL", overflow="fold")
    for row in rows:
        ready = "[green]yes[/green]" if row["ready"] else "[red]no[/red]"
        reason = row["reason"] if row["ready"] else f"{row['reason']}: {row['message']}"
        table.add_row(
            row["namespace"],
            row["name"],
            row["modality"],
            ready,
            row["primary"],
            str(row["replicas"]),
            reason,
            row["base_url"],
        )
    return table
