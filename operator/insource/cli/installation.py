"""The programs of one local installation: what runs, with which arguments, and in which order it ends."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from insource.cli.local_vendors import IMAGES_TIER, LOCAL_VENDORS
from insource.cli.state import Layout
from insource.cli.supervisor import Program

STOP_ORDER = (("envoy", "operator"), ("agent",), ("cluster",), ("ledger", "emulator"))
"""No new requests first; then the pods, which ship their last records to the ledger; the ledger last."""
IMAGE = "insource/insource:local"


def run_dir(layout: Layout) -> Path:
    """A short private folder for unix sockets, whose paths must stay under 108 bytes however deep the data lies."""
    digest = hashlib.sha256(str(layout.data).encode()).hexdigest()[:10]
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    return base / f"insource-{os.getuid()}-{digest}"


def package_file(name: str) -> Path:
    """A folder that ships beside the package in a checkout (crds), or inside it when installed."""
    for base in (Path(__file__).parents[3], Path(__file__).parents[1]):
        if (base / name).is_dir():
            return base / name
    raise FileNotFoundError(name)


def cluster(layout: Layout, ports: dict[str, int], sockets: Path) -> Program:
    """The embedded API server, controllers and node."""
    arguments = (
        *("cluster", "--data", str(layout.cluster), "--run-dir", str(sockets), "--port", str(ports["api"])),
        *("--tls-certificate", str(layout.certificate), "--tls-key", str(layout.certificate_key)),
        *("--tokens-file", str(layout.tokens), "--crds", str(package_file("crds"))),
    )
    # Pods get up to ten seconds to drain; the rest is the cluster's own.
    return Program("cluster", arguments, layout.logs / "cluster.log", grace_s=20)


def others(layout: Layout, ports: dict[str, int], sockets: Path) -> tuple[Program, ...]:
    """Everything that needs the API server."""

    def local(name: str) -> str:
        return f"127.0.0.1:{ports[name]}"

    def log(name: str) -> Path:
        return layout.logs / f"{name}.log"

    ledger_url = f"http://{local('ledger')}"
    ledger = (
        *("ledger", "--kubeconfig", str(layout.component_kubeconfig("ledger"))),
        *("--data", str(layout.ledger), "--listen", local("ledger")),
    )
    emulator = ("emulator", *(vendor.name for vendor in LOCAL_VENDORS), "--tier", str(IMAGES_TIER))
    for name in (vendor.name for vendor in LOCAL_VENDORS):
        emulator += ("--listen", local(name), "--data", str(layout.emulator / name))
        emulator += ("--key-file", str(layout.vendor_key(name)))
    operator = (
        *("operator", "--kubeconfig", str(layout.component_kubeconfig("operator"))),
        *("--gateway-master-file", str(layout.gateway_master), "--gateway-url", f"http://{local('agent')}"),
        *("--ledger-url", ledger_url, "--image", IMAGE, "--listen", local("operator")),
        *("--public-url", f"http://{local('gateway')}"),
    )
    agent = (
        *("gateway", "agent", "--kubeconfig", str(layout.component_kubeconfig("gateway"))),
        *("--state-dir", str(layout.gateway), "--run-dir", str(sockets), "--admin", local("agent")),
        *("--gateway-master-file", str(layout.gateway_master)),
        *("--ledger-url", ledger_url, "--ledger-token-file", str(layout.gateway_ledger_token)),
    )
    envoy = (
        *("gateway", "envoy", "--listen", local("gateway")),
        *("--state-dir", str(layout.gateway), "--run-dir", str(sockets)),
    )
    return (
        Program("ledger", ledger, log("ledger")),
        Program("emulator", emulator, log("emulator")),
        Program("operator", operator, log("operator")),
        Program("agent", agent, log("agent")),
        Program("envoy", envoy, log("envoy"), grace_s=5),
    )
