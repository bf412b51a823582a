"""`insource env`: what a shell needs to use a running installation."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from insource.cli.state import Layout, data_option


@click.command()
@data_option
def env(data: Path) -> None:
    """Print exports for your shell: eval "$(insource env)"."""
    layout = Layout(data)
    state = layout.require_running()
    for name, value in (
        ("KUBECONFIG", str(layout.kubeconfig)),
        ("INSOURCE_GATEWAY", state.gateway_url),
        ("INSOURCE_API_KEY", layout.api_key.read_text().strip()),
        *((_emulator(vendor), url) for vendor, url in state.emulator_urls.items()),
    ):
        click.echo(f"export {name}={shlex.quote(value)}")


def _emulator(vendor: str) -> str:
    """`INSOURCE_EMULATOR` is OpenAI's; the others have their names at its end."""
    return "INSOURCE_EMULATOR" + ("" if vendor == "openai" else f"_{vendor.upper().replace('-', '_')}")
