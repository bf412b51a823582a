"""The node, up and down. `up` always begins from nothing; `down` undoes whatever there is."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.console import Console

from tests.cluster.binaries import BuildError, NodeBinaries, node_binaries
from tests.node import daemons, files, identity, machine, policies, programs
from tests.node.images import ROOT
from tests.node.packages import Tools, call, locked, tools
from tests.node.places import PAUSE, NodeError, Places

_CNI_RESULTS = Path("/var/lib/cni/results")
_CONTAINER_LOGS = Path("/var/log/containers")


@dataclass
class Node:
    """This machine as a node. Every method may be called again, and from another process."""

    places: Places
    console: Console

    @cached_property
    def binaries(self) -> NodeBinaries:
        """Built when first asked for: minutes, once. Raises NodeError."""
        try:
            return node_binaries(self.console)
        except BuildError as error:
            raise NodeError(str(error)) from error

    @cached_property
    def tools(self) -> Tools:
        """Fetched when first asked for. Raises NodeError."""
        return tools(self.console)

    # --- up

    def up(self) -> None:
        """From nothing to a Ready node: seconds, if nothing is to be built. Raises NodeError."""
        binaries = self.binaries
        machine.check_free(self.places, self.tools)
        policies.check_free(self.tools)
        self._write()
        machine.make_network(self.places)
        if reason := policies.prepare(self.places, self.tools):
            self.console.print(f"insource: {policies.NOT_ENFORCED}: {reason}", markup=False)
        machine.make_cgroups(self.places)
        for name in ("containerd", "etcd"):
            self.start(name)
        self._wait(self._etcd_answers, "etcd", "etcd")
        self.start("kube-apiserver")
        self._wait(self.containerd_answers, "containerd", "containerd")
        self.import_pause(binaries.pause)
        self._wait(self.api_ready, "the API server", "etcd", "kube-apiserver")
        for name in ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"):
            self.start(name)
        self._wait(self._base_objects, "the base objects", "kube-apiserver")
        for name in ("coredns", "volumes"):
            self.start(name)
        everyone = (*programs.CONTROL_PLANE, *programs.NODE)
        self._wait(self.ready, "the node", *everyone)
        if not policies.not_enforced(self.places):
            # It ends if the API server has no object of its node yet.
            self.start(policies.PROGRAM)
            self._wait(lambda: policies.enforces(self.tools, self.places), "network policies", policies.PROGRAM)
        self._wait(self._default_account, "the default ServiceAccount", *everyone)
        self._wait(self._dns_answers, "CoreDNS", *everyone)

    def start(self, name: str) -> None:
        """One program, as `up` starts it."""
        if name == "containerd":
            command = programs.containerd(self.places, self.tools)
        elif name in programs.EACH:
            command = programs.of_node(self.places, self.binaries)[name]
        else:
            prefix = (self.places.run / "etcd-prefix").read_text()
            command = programs.commands(self.places, self.binaries, prefix)[name]
        # Note: Go's and Python's programs of this machine do well without Debian's libraries.
        environment = {**self.tools.environment(), "PYTHONPATH": f"{ROOT}:{ROOT / 'operator'}"}
        if name == policies.PROGRAM:
            environment.update(self.tools.filtering())
        elif name not in ("containerd", "kube-proxy"):
            environment.pop("LD_LIBRARY_PATH")
        daemons.start(self.places, name, command, environment)

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        daemons.stop(self.places, name, how)

    def running(self) -> dict[str, int]:
        return daemons.running(self.places)

    def wait(self, name: str) -> None:
        """Until what was started again answers, and the node is Ready. Raises NodeError."""
        self._wait(self.api_ready, "the API server", "etcd", "kube-apiserver")
        self._wait(self.ready, "the node", "kube-apiserver", "kubelet", name)

    def _wait(self, ready: Callable[[], bool], what: str, *needs: str) -> None:
        if self.console.is_terminal:
            with self.console.status(f"waiting for {what}"):
                daemons.wait_until(self.places, ready, what, needs)
        else:
            daemons.wait_until(self.places, ready, what, needs)
        self.console.print(f"insource: {what}: ready")

    def _write(self) -> None:
        run = self.places.run
        (run / "cni").mkdir(parents=True)
        for folder in (self.places.state, self.places.volumes):
            folder.mkdir(parents=True, exist_ok=True)
        identity.write(self.places)
        texts = {
            "containerd.toml": files.containerd(self.places, self.tools.cni),
            "cni/10-insource.conflist": files.pod_network(self.places),
            "kubelet.yaml": files.kubelet(self.places),
            "kube-proxy.yaml": files.kube_proxy(self.places),
            "Corefile": files.corefile(self.places),
            "etcd-prefix": f"/insource-{secrets.token_hex(8)}",
        }
        for name, text in texts.items():
            (run / name).write_text(text)

    def import_pause(self, program: Path) -> None:
        if PAUSE in self.images():
            return
        folder = self.places.run / "pause-image"
        folder.mkdir()
        archive = pause_image(program, folder)
        self.ctr("images", "import", archive)
        shutil.rmtree(folder)

    def images(self) -> set[str]:
        """By name, those that containerd has."""
        return set(self.ctr("images", "ls", "-q").split())

    def contents(self) -> set[str]:
        """By digest, the manifests, configurations and layers that containerd has."""
        return set(self.ctr("content", "ls", "-q").split())

    # --- what is asked of it

    def kubectl(self, *words: str, given: str | None = None) -> str:
        """As admin. Raises NodeError."""
        program = shutil.which("kubectl", path=f"{ROOT / '.venv/bin'}:{os.environ.get('PATH', '')}")
        if program is None:
            raise NodeError("kubectl is not on PATH: `make` puts it into .venv/bin")
        environment = {**os.environ, "KUBECONFIG": str(self.places.kubeconfig)}
        return call([program, *words], f"kubectl {' '.join(words[:3])}", env=environment, input=given)

    def ctr(self, *words: str | Path) -> str:
        own = [self.tools.path("ctr"), "--address", self.places.containerd_socket, "--namespace", "k8s.io"]
        return self.tools.run(*own, *words, what=f"ctr {words[0]}")

    def ready(self) -> bool:
        path = '{.status.conditions[?(@.type=="Ready")].status}'
        return self._says("get", "node", self.places.name, "-o", f"jsonpath={path}") == "True"

    def api_ready(self) -> bool:
        return self._says("get", "--raw", "/readyz") == "ok"

    def _says(self, *words: str) -> str:
        try:
            return self.kubectl(*words).strip()
        except NodeError:
            return ""

    def _etcd_answers(self) -> bool:
        return _get(f"http://127.0.0.1:{self.places.etcd_port}/health")

    def _dns_answers(self) -> bool:
        return _get(f"http://127.0.0.1:{self.places.dns_ready_port}/ready")

    def containerd_answers(self) -> bool:
        try:
            self.ctr("version")
        except NodeError:
            return False
        return True

    def _base_objects(self) -> bool:
        document = {"apiVersion": "v1", "kind": "List", "items": files.base_objects(self.places)}
        try:
            self.kubectl("apply", "-f", "-", given=json.dumps(document))
        except NodeError:
            return False
        return True

    def _default_account(self) -> bool:
        return bool(self._says("get", "serviceaccount", "default", "-o", "name"))

    def set_gpus(self, count: int) -> None:
        """The scheduler counts them as any; no pod finds a device. They last until the node is deleted."""
        amount = {"nvidia.com/gpu": str(count)}
        patch = json.dumps({"status": {"capacity": amount, "allocatable": amount}})
        self.kubectl("patch", "node", self.places.name, "--subresource=status", "--type=merge", "-p", patch)

    # --- down

    def is_begun(self) -> bool:
        """Whether there is anything of a node for `down` to undo, if only what a reboot has left."""
        return bool(self.running()) or self.places.run.exists() or (self.places.state / "etcd").exists()

    def down(self) -> None:
        """Everything but images and logs. Data is thrown away, so by force; safe after any death of `up` or `down`."""
        if not self.is_begun():
            return
        for name in reversed((*programs.CONTROL_PLANE, "kube-proxy", policies.PROGRAM, "coredns", "volumes")):
            daemons.stop(self.places, name, signal.SIGKILL)
        self.end_containers()
        policies.undo(self.places, self.tools)
        machine.unmake_network(self.places, self.tools)
        machine.unmake_cgroups(self.places)
        for folder in (self.places.state / "kubelet", self.places.state / "etcd", self.places.volumes):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self.places.run, ignore_errors=True)

    def end_containers(self) -> None:
        """All of this node's, then its containerd, its mounts and its links to logs."""
        daemons.stop(self.places, "kubelet")
        if self.places.containerd_root.exists():
            if "containerd" not in self.running():
                # A dead containerd still has containers that live, or of before a reboot: only it can say which.
                self.places.run.mkdir(parents=True, exist_ok=True)
                (self.places.run / "containerd.toml").write_text(files.containerd(self.places, self.tools.cni))
                self.start("containerd")
            self._wait(self.containerd_answers, "containerd", "containerd")
            self.remove_containers()
        daemons.stop(self.places, "containerd")
        machine.unmount(self.places.run, self.places.state)
        for link in _CONTAINER_LOGS.glob("*") if _CONTAINER_LOGS.exists() else ():
            if link.is_symlink() and str(link.readlink()).startswith(f"{self.places.run}/"):
                link.unlink()

    def remove_containers(self) -> None:
        containers = self.ctr("containers", "ls", "-q").split()
        spaces = set()
        for container in containers:
            described = json.loads(self.ctr("containers", "info", container))
            for space in described.get("Spec", {}).get("linux", {}).get("namespaces", []):
                if space.get("type") == "network" and Path(space.get("path", "")).name.startswith("cni-"):
                    spaces.add(Path(space["path"]).name)
        for task in self.ctr("tasks", "ls", "-q").split():
            self._try("tasks", "rm", "--force", task)
        for container in containers:
            self._try("containers", "rm", container)
        for space in spaces:
            # The pair of interfaces goes with it.
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)
        for result in _CNI_RESULTS.glob("*") if _CNI_RESULTS.exists() else ():
            if any(container in result.name for container in containers):
                result.unlink()

    def _try(self, *words: str) -> None:
        """What is gone already is gone."""
        try:
            self.ctr(*words)
        except NodeError as error:
            if not any(words in str(error) for words in ("not found", "ttrpc: closed")):
                self.console.print(f"insource: {error}", markup=False)


def _get(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def pause_image(program: Path, folder: Path) -> Path:
    """An image of one program, as `docker save` writes it: it needs no builder."""
    layer = folder / "layer.tar"
    with tarfile.open(layer, "w") as tar:
        entry = tarfile.TarInfo("pause")
        entry.mode, entry.size = 0o755, program.stat().st_size
        with program.open("rb") as content:
            tar.addfile(entry, content)
    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    configuration = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    (folder / "config.json").write_text(json.dumps(configuration))
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    archive = folder / "pause.tar"
    with tarfile.open(archive, "w") as tar:
        for name in ("manifest.json", "config.json", "layer.tar"):
            tar.add(folder / name, name)
    return archive


@contextmanager
def exclusive(places: Places) -> Iterator[None]:
    """One `up` or `down` of the machine at a time."""
    with locked(places.state / "lock"):
        yield
