"""The programs that containers run: each reads its flags or environment and hands over. Imports happen when called."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insource.cli.delivery import delivery_options, delivery_settings
from insource.cli.logs import configure_logging

if TYPE_CHECKING:
    from insource.emulator.settings import Vendor

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


class Address(click.ParamType[tuple[str, int]]):
    """`HOST:PORT`."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Split it, or fail with what is wrong."""
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            self.fail(f"{value!r} is not HOST:PORT, such as 127.0.0.1:8080", param, ctx)
        return host, int(port)


ADDRESS = Address()


def run(program: Coroutine[Any, Any, None]) -> None:
    """Run one of our long-lived programs on uvloop."""
    import uvloop

    uvloop.run(program)


@click.command()
@click.option("--kubeconfig", help="Default: the pod's own service account.")
@click.option("--gateway-master-file", type=FILE, required=True)
@click.option("--gateway-url", "gateway_urls", multiple=True, help="Admin URL of a gateway's agent; may be repeated.")
@click.option(
    "--gateway-service",
    type=ADDRESS,
    help="Headless Service of the gateways' agents, and their admin port: asked by every address that its name has.",
)
@click.option(
    "--watch-namespace",
    "watch_namespaces",
    multiple=True,
    help="Look after this namespace only; may be repeated. Default: after all.",
)
@click.option("--ledger-url", required=True)
@click.option("--image", required=True, help="Image of the adapters.")
@click.option("--servers-image", default="", help="Image of the catalogue's CPU model servers. Default: --image.")
@click.option("--identity", default=lambda: f"{socket.gethostname()}-{os.getpid()}", help="Name in the Lease.")
@click.option("--listen", default="127.0.0.1:8080", show_default=True, help="Health and metrics.")
@click.option("--public-url", default="", help="Base URL of the gateway for clients; shown in statuses.")
@click.option("--lease-namespace", default="insource-system", show_default=True)
@click.option("--image-registry", default="", help="Prefix in the place of the registry's host in runtimes' images.")
@click.option("--image-pull-secret", "image_pull_secrets", multiple=True, help="Of every pod; may be repeated.")
@delivery_options
def operator(**flags: Any) -> None:
    """Run the operator."""
    from insource.reconciler.app import run_operator
    from insource.reconciler.settings import OperatorSettings

    configure_logging()
    run(run_operator(OperatorSettings(delivery=delivery_settings(flags), **flags)))


@click.group()
def gateway() -> None:
    """Run the gateway: its agent, or Envoy."""
    configure_logging()


@gateway.command()
@click.option("--kubeconfig", type=FILE, help="Default: the pod's own service account.")
@click.option("--state-dir", type=FOLDER, required=True)
@click.option("--run-dir", type=FOLDER, required=True)
@click.option("--admin", type=ADDRESS, required=True)
@click.option("--gateway-master-file", "master_file", type=FILE, required=True)
@click.option("--ledger-url", required=True)
@click.option("--ledger-token-file", type=FILE, required=True)
@click.option("--pod", default=lambda: os.environ.get("POD_NAME", "gateway"), help="Name in evidence and records.")
@click.option(
    "--outlive-envoy",
    "outlive_envoy_s",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="After SIGTERM: seconds to stay for Envoy to end and the ledger to have its log. For pods, which end at once.",
)
def agent(**flags: Any) -> None:
    """Configure Envoy, follow its log, hold cold requests."""
    from insource.gateway.agent import run_agent
    from insource.gateway.settings import AgentSettings

    host, port = flags.pop("admin")
    run(run_agent(AgentSettings(admin_host=host, admin_port=port, **flags)))


@gateway.command()
@click.option("--listen", type=ADDRESS, required=True)
@click.option("--state-dir", type=FOLDER, required=True)
@click.option("--run-dir", type=FOLDER, required=True)
@click.option("--concurrency", type=int, default=2, show_default=True, help="Worker threads.")
@click.option(
    "--memory-limit",
    "memory_limit_bytes",
    type=click.IntRange(min=0),
    default=0,
    help="Bytes that it may use before it is killed: new requests are refused a little before. Default: no limit.",
)
@click.option("--tls-dir", type=FOLDER, help="Folder with tls.crt and tls.key: a mounted Secret. Default: plain HTTP.")
@click.option("--health", type=ADDRESS, help="Answer GET /ready here: 200 once all is applied, 503 while draining.")
def envoy(**flags: Any) -> None:
    """Write the bootstrap, then become Envoy."""
    from insource.gateway.certificate import CertificateError
    from insource.gateway.envoy import EnvoySettings, exec_envoy

    host, port = flags.pop("listen")
    try:
        exec_envoy(EnvoySettings(host=host, port=port, **flags))
    except CertificateError as error:
        raise click.ClickException(str(error)) from None


@gateway.command()
@click.option("--run-dir", type=FOLDER, required=True)
@click.option(
    "--settle",
    "settle_s",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    help="Seconds in which new connections are still served, until everybody knows that this pod is not ready.",
)
@click.option(
    "--limit",
    "limit_s",
    type=click.FloatRange(min=0, min_open=True),
    default=3600.0,
    show_default=True,
    help="Seconds after which it ends in any case; above the settle time and the longest request.",
)
def drain(run_dir: Path, settle_s: float, limit_s: float) -> None:
    """End Envoy's work: not ready, no new clients, and wait for what is in flight. The preStop hook of a pod."""
    from insource.gateway.drain import drain_envoy

    trouble = asyncio.run(drain_envoy(run_dir, settle_s=settle_s, limit_s=limit_s))
    if trouble:
        raise click.ClickException(trouble)


@click.command()
def adapter() -> None:
    """Run an adapter; its environment says which."""
    from insource.adapter.server import CannotStart, run_adapter
    from insource.adapter.settings import SettingsError, settings_from_environment

    configure_logging()
    try:
        settings = settings_from_environment(os.environ)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    try:
        run(run_adapter(settings))
    except CannotStart as error:
        raise click.ClickException(str(error)) from None


@click.command()
@click.option("--kubeconfig", type=FILE, help="Default: the pod's own service account.")
@click.option("--data", type=FOLDER, required=True)
@click.option("--listen", type=ADDRESS, required=True)
def ledger(kubeconfig: Path | None, data: Path, listen: tuple[str, int]) -> None:
    """Run the ledger."""
    from insource.ledger.program import run_ledger
    from insource.ledger.settings import LedgerSettings

    configure_logging()
    run(run_ledger(LedgerSettings(kubeconfig=kubeconfig, data=data, host=listen[0], port=listen[1])))


@click.command()
@click.option("--into", type=FOLDER, required=True, help="The folder for the model's files.")
@click.option("--limit", "limit_s", type=float, required=True, help="Seconds in which all must be there.")
@click.option("--message-file", type=FILE, help="Where the reason of a failure is written.")
@click.option("--allow", multiple=True, help="Address range that may be asked beside public ones; may be repeated.")
@click.option("--credentials-dir", type=FOLDER, help="Has the keys of the source's Secret.")
@click.option("--credentials-secret", default="", help="The name of the Secret that is mounted there.")
@click.option("--ca-dir", type=FOLDER, help="Certificates (PEM) to trust beside the system's.")
def fetch(**flags: Any) -> None:
    """Download a model; what, its environment says."""
    from insource.delivery.program import FetchSettings, run_fetch

    configure_logging()
    sys.exit(run_fetch(FetchSettings(**flags), os.environ))


@click.command()
@click.argument("name", type=click.Choice(["whisper", "piper", "llama", "embed", "flow-image", "stub"]))
def server(name: str) -> None:
    """Run a model server for CPUs; configured by its environment."""
    from insource.servers.settings import SettingsError, llama_settings, piper_settings, server_settings, stub_settings

    configure_logging()
    try:
        if name == "whisper":
            from insource.servers.whisper import run_whisper

            run_whisper(server_settings(os.environ))
        elif name == "piper":
            from insource.servers.piper import run_piper

            run_piper(piper_settings(os.environ))
        elif name == "llama":
            from insource.servers.llama import run_llama

            run_llama(llama_settings(os.environ))
        elif name == "embed":
            from insource.servers.minilm import run_embed

            run_embed(server_settings(os.environ))
        elif name == "flow-image":
            from insource.servers.flow_image import run_flow_image

            run_flow_image(server_settings(os.environ))
        else:
            from insource.servers.stub import run_stub

            run_stub(stub_settings(os.environ))
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


@click.command()
@click.argument(
    "vendors",
    metavar="VENDOR...",
    type=click.Choice(["openai", "azure-openai", "azure-speech", "azure-images"]),
    nargs=-1,
    required=True,
)
@click.option("--listen", "addresses", multiple=True, required=True, help="HOST:PORT, loopback only; of each VENDOR.")
@click.option("--data", "folders", type=FOLDER, multiple=True, required=True, help="Of the bill; of each VENDOR.")
@click.option("--key-file", "key_files", type=FILE, multiple=True, required=True, help="Of each VENDOR.")
@click.option(
    "--engine",
    type=click.Choice(["pocketsphinx", "echo"]),
    default="pocketsphinx",
    show_default=True,
    envvar="INSOURCE_EMULATOR_ENGINE",
    help="`echo` hears and speaks nothing: for tests at high rates.",
)
@click.option(
    "--requests-per-minute",
    type=click.IntRange(min=1),
    envvar="INSOURCE_EMULATOR_REQUESTS_PER_MINUTE",
    help="Default: what the vendor grants.",
)
@click.option("--tier", type=int, default=1, show_default=True, help="Quota tier of azure-images, 1 to 6.")
@click.option(
    "--deployment", "deployments", multiple=True, help="NAME=MODEL, of azure-openai and azure-images; may be repeated."
)
def emulator(
    vendors: tuple[Vendor, ...],
    addresses: tuple[str, ...],
    folders: tuple[Path, ...],
    key_files: tuple[Path, ...],
    deployments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Run vendor emulators in one process, each at its own address: the first --listen, --data and --key-file are the
    first VENDOR's, and so on."""
    from insource.emulator.program import run_emulator
    from insource.emulator.settings import EmulatorSettings

    configure_logging()
    for flag, given in (("--listen", addresses), ("--data", folders), ("--key-file", key_files)):
        if len(given) != len(vendors):
            raise click.UsageError(f"{flag} must be given once for each VENDOR: {len(vendors)} times, not {len(given)}")
    if len(set(folders)) != len(folders):
        raise click.UsageError("two vendors with one --data would share their bill: give each its own")
    named = dict(one.partition("=")[::2] for one in deployments)
    try:
        run_emulator(
            *(
                EmulatorSettings(vendor=vendor, listen=address, data=folder, key_file=key, deployments=named, **flags)
                for vendor, address, folder, key in zip(vendors, addresses, folders, key_files, strict=True)
            )
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from None


@click.command()
@click.option("--data", type=FOLDER, required=True)
@click.option("--run-dir", type=FOLDER, required=True)
@click.option("--port", type=int, required=True)
@click.option("--tokens-file", type=FILE, required=True)
@click.option("--tls-certificate", type=FILE, help="PEM; without it plain HTTP, over which kubectl sends no token.")
@click.option("--tls-key", type=FILE)
@click.option("--crds", type=FOLDER, help="Folder of CustomResourceDefinitions to apply at start.")
@click.option("--audit-log", type=FILE, help="Told who asked for what: one JSON line per answered request.")
def cluster(**flags: Any) -> None:
    """Run the embedded cluster: API server, controllers and node."""
    from insource.local.cluster import ClusterSettings, run_cluster
    from insource.local.journal import DamagedDataError
    from insource.local.store_errors import ApiError

    configure_logging()
    if sys.platform != "linux":
        raise click.ClickException("the embedded node runs on Linux only: use kind, and the Helm chart, elsewhere")
    try:
        run(run_cluster(ClusterSettings(**flags)))
    except ApiError as error:
        raise click.ClickException(error.message) from error
    except (DamagedDataError, OSError) as error:
        raise click.ClickException(str(error)) from error
