"""The API servers as what can fail: stopped, killed, frozen, robbed of their memory. One implementation for each."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.cluster.binaries import binaries
from tests.cluster.control_plane import ATTEMPTS, ControlPlane, control_plane
from tests.cluster.credentials import Credentials
from tests.cluster.etcd import compact
from tests.cluster.kwok import kwok
from tests.cluster.processes import Child, DiedError, start, wait_until
from tests.operators import kubelet
from tests.ports import free_ports
from tests.servers import ApiServer

EMBEDDED = "insource-cluster"


class Server(Protocol):
    """An API server that is a process of its own, with the controllers that belong to it."""

    api: ApiServer

    def stop(self, how: signal.Signals) -> None:
        """End it by this signal; what it was told is kept."""

    def start(self) -> None:
        """Again, at the same address; answers when this returns. Raises DiedError."""

    def forget(self) -> None:
        """While it is stopped: when it is back, it knows no version but the present one, so old watches get 410."""

    def send(self, what: signal.Signals) -> None:
        """SIGSTOP: it takes connections and answers nothing. SIGCONT: it goes on."""

    def nodes(self, count: int) -> AbstractContextManager[None]:
        """Accelerator nodes of eight GPUs on which every pod is Ready at once."""


@dataclass
class RealServer:
    """kube-apiserver; etcd and the controllers go on while it is away."""

    plane: ControlPlane
    api: ApiServer = field(init=False)

    def __post_init__(self) -> None:
        self.api = ApiServer("real", self.plane.url, self.plane.credentials, self.plane.audit_log)

    def stop(self, how: signal.Signals) -> None:
        self.plane.stop_child("kube-apiserver", how)

    def start(self) -> None:
        self.plane.start_apiserver()

    def forget(self) -> None:
        compact(self.plane.etcd_url)

    def send(self, what: signal.Signals) -> None:
        self.plane.children["kube-apiserver"].process.send_signal(what)

    def nodes(self, count: int) -> AbstractContextManager[None]:
        return kwok(self.plane, nodes=count)


@dataclass
class EmbeddedServer:
    """`insource cluster`: API server, controllers and node are one process, which keeps its objects in a folder."""

    folder: Path
    credentials: Credentials
    port: int
    api: ApiServer = field(init=False)
    children: list[Child] = field(default_factory=list)

    def __post_init__(self) -> None:
        url = f"https://127.0.0.1:{self.port}"
        self.api = ApiServer("embedded", url, self.credentials, self.folder / "audit.log")

    def stop(self, how: signal.Signals) -> None:
        self.children.pop().stop(how)

    def start(self) -> None:
        own = self.credentials
        command = [
            *(sys.executable, "-m", "insource", "cluster", "--data", self.folder / "data", "--port", str(self.port)),
            *("--run-dir", self.folder / "run", "--tokens-file", own.token_file, "--audit-log", self.api.audit_log),
            *("--tls-certificate", own.certificate, "--tls-key", own.key),
        ]
        self.children.append(start(EMBEDDED, command, self.folder))
        wait_until(self.api.is_ready, self.children, EMBEDDED)

    def forget(self) -> None:
        """Nothing to do: it remembers no history over a restart."""

    def send(self, what: signal.Signals) -> None:
        self.children[-1].process.send_signal(what)

    def nodes(self, count: int) -> AbstractContextManager[None]:
        return kubelet.nodes(self.api, count)


@contextmanager
def real(folder: Path, users: Sequence[str]) -> Iterator[Server]:
    """A control plane of one's own, until the block ends."""
    with control_plane(folder, binaries(), users) as plane:
        yield RealServer(plane)


@contextmanager
def embedded(folder: Path, users: Sequence[str]) -> Iterator[Server]:
    """`insource cluster`, until the block ends."""
    credentials = Credentials(folder, users)
    credentials.write()
    for attempt in range(1, ATTEMPTS + 1):
        place = folder / f"run-{attempt}"
        place.mkdir()
        server = EmbeddedServer(place, credentials, *free_ports(1))
        try:
            server.start()
        except DiedError as error:
            server.stop(signal.SIGKILL)
            if attempt == ATTEMPTS or "address already in use" not in str(error):
                raise
        else:
            break
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)
