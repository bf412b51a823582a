"""`python -m tests.cluster.binaries`: builds etcd, Kubernetes and KWOK from their Go modules into the user's cache.

What is built is what `build/*/go.mod` and go.sum pin; a folder's name holds the version and their digest, so a clean
checkout finds what another one built, and a changed pin builds anew. Safe to run twice at once, or to interrupt.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

HERE = Path(__file__).parent / "build"
SAY_EVERY_S = 30.0
_KUBERNETES_FLAGS = (
    "-X k8s.io/component-base/version.gitVersion={version} -X k8s.io/component-base/version.gitMajor={major} "
    "-X k8s.io/component-base/version.gitMinor={minor} -X k8s.io/client-go/pkg/version.gitVersion={version}"
)
_STAGES = (
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
)
"""How KWOK plays nodes and pods. Its binary has none built in when it is built as a module."""


class BuildError(Exception):
    """The programs cannot be had; the text says why and what to do."""


@dataclass(frozen=True)
class Module:
    """Programs from one Go module: `programs` maps a file name to its package."""

    name: str
    requires: str
    programs: dict[str, str]
    ldflags: str = ""

    @property
    def folder(self) -> Path:
        return HERE / self.name

    @property
    def modules(self) -> tuple[str, ...]:
        """All that its go.mod requires by itself."""
        return tuple(re.findall(r"(?m)^\s(\S+) v\S+$", self._read("go.mod")))

    @property
    def version(self) -> str:
        """As its go.mod pins it."""
        found = re.search(rf"^\s*(?:require )?{re.escape(self.requires)} (\S+)", self._read("go.mod"), re.MULTILINE)
        if found is None:
            raise BuildError(f"{self.folder / 'go.mod'} does not require {self.requires}")
        return found.group(1)

    @property
    def key(self) -> str:
        own = [path.read_text() for path in sorted(self.folder.glob("*/*.go"))]
        pins = "\0".join((self._read("go.mod"), self._read("go.sum"), self.ldflags, *own))
        return f"{self.name}-{self.version}-{hashlib.sha256(pins.encode()).hexdigest()[:12]}"

    def _read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def flags(self) -> str:
        major, minor = self.version.lstrip("v").split(".")[:2]
        return "-s -w " + self.ldflags.format(version=self.version, major=major, minor=minor)


ETCD = Module("etcd", "go.etcd.io/etcd/server/v3", {"etcd": "go.etcd.io/etcd/server/v3"})
KUBERNETES = Module(
    "kubernetes",
    "k8s.io/kubernetes",
    {name: f"k8s.io/kubernetes/cmd/{name}" for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")},
    _KUBERNETES_FLAGS,
)
KWOK = Module("kwok", "sigs.k8s.io/kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"})
MODULES = (ETCD, KUBERNETES, KWOK)
NODE = Module(
    "node",
    "k8s.io/kubernetes",
    {name: f"k8s.io/kubernetes/cmd/{name}" for name in ("kubelet", "kube-proxy")},
    _KUBERNETES_FLAGS,
)
CRDS = Module("crds", "sigs.k8s.io/gateway-api", {})
"""Nothing to build: others' CustomResourceDefinitions, `tests.cluster.others_crds`."""
POLICIES = Module(
    "policies",
    "github.com/cloudnativelabs/kube-router/v2",
    {"kube-router": "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"},
)
NODE_TOOLS = Module("nodetools", "github.com/coredns/coredns", {"coredns": "./coredns", "pause": "./pause"})


@dataclass(frozen=True)
class Binaries:
    """Where the programs are."""

    etcd: Path
    apiserver: Path
    controller_manager: Path
    scheduler: Path
    kwok: Path
    kwok_stages: tuple[Path, ...]


@dataclass(frozen=True)
class NodeBinaries:
    """A control plane and what a real node runs besides."""

    etcd: Path
    apiserver: Path
    controller_manager: Path
    scheduler: Path
    kubelet: Path
    proxy: Path
    router: Path
    coredns: Path
    pause: Path


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "insource" / "cluster"


def built() -> bool:
    """Whether nothing is left to build."""
    return all((cache_folder() / module.key).is_dir() for module in MODULES)


def binaries(console: Console | None = None) -> Binaries:
    """Build what the cache lacks (about 20 minutes on two cores, once). Raises BuildError."""
    console = console or Console(stderr=True)
    etcd, kubernetes, kwok = (_ensure(module, console) for module in MODULES)
    return Binaries(
        etcd / "etcd",
        kubernetes / "kube-apiserver",
        kubernetes / "kube-controller-manager",
        kubernetes / "kube-scheduler",
        kwok / "kwok",
        tuple(kwok / Path(stage).name for stage in _STAGES),
    )


def node_binaries(console: Console | None = None) -> NodeBinaries:
    """Build what the cache lacks of a real node (five minutes more than for `binaries`). Raises BuildError."""
    console = console or Console(stderr=True)
    modules = (ETCD, KUBERNETES, NODE, POLICIES, NODE_TOOLS)
    etcd, kubernetes, node, policies, own = (_ensure(module, console) for module in modules)
    return NodeBinaries(
        etcd / "etcd",
        kubernetes / "kube-apiserver",
        kubernetes / "kube-controller-manager",
        kubernetes / "kube-scheduler",
        node / "kubelet",
        node / "kube-proxy",
        policies / "kube-router",
        own / "coredns",
        own / "pause",
    )


def _ensure(module: Module, console: Console) -> Path:
    target = cache_folder() / module.key
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(f"{target.name}.lock")):
        if not target.is_dir():
            scratch = Path(tempfile.mkdtemp(prefix=f"{module.name}-", dir=target.parent))
            try:
                _build(module, scratch, console)
                if module is KWOK:
                    _copy_stages(scratch)
                scratch.rename(target)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _go(module: Module, *arguments: str) -> list[str]:
    go = shutil.which("go")
    if go is None:
        raise BuildError(
            "building a real control plane needs Go 1.26 or newer, and no `go` is on PATH: "
            "install it from https://go.dev/dl, or run the tests that need none (make test)"
        )
    return [go, "-C", str(module.folder), *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOTOOLCHAIN": "local"}


def _ask(module: Module, *arguments: str) -> list[str]:
    done = subprocess.run(_go(module, *arguments), env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"go {' '.join(arguments[:2])} of {module.name} failed:\n{done.stderr.strip()}")
    return done.stdout.split()


def go_module_folder(module: Module, name: str) -> Path:
    """Where Go keeps the sources of `name`, which `module` is or requires; downloaded, and checked against go.sum, if
    they are not there. Raises BuildError.
    """
    where = ("list", "-m", "-f", "{{.Dir}}", name)
    found = _ask(module, *where)
    if not found:
        _ask(module, "mod", "download", name)
        found = _ask(module, *where)
    (folder,) = found
    return Path(folder)


def _build(module: Module, target: Path, console: Console) -> None:
    console.print(f"insource: building {module.name} {module.version} from its Go module (once)")
    packages = list(module.programs.values())
    total = len(_ask(module, "list", "-deps", *packages))
    command = _go(module, "build", "-v", "-trimpath", "-ldflags", module.flags())
    # Note: one package names the file, several name a folder.
    out = str(target / next(iter(module.programs))) if len(packages) == 1 else f"{target}/"
    command += ["-o", out, *packages]
    said: list[str] = []
    with (
        subprocess.Popen(command, env=_environment(), stderr=subprocess.PIPE, text=True) as process,
        _progress(console, module.name, total) as step,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line.rstrip())
            step()
    if process.returncode:
        raise BuildError(f"building {module.name} failed:\n" + "\n".join(said[-20:]))


@contextmanager
def _progress(console: Console, name: str, total: int) -> Iterator[Callable[[], None]]:
    """Packages compiled so far: a bar on a terminal, else a line now and then. What Go has cached is not counted."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(f"{name}: packages", total=total)
            yield lambda: bar.advance(task)
        return
    done, spoken = 0, time.monotonic()

    def step() -> None:
        nonlocal done, spoken
        done += 1
        if time.monotonic() - spoken > SAY_EVERY_S:
            spoken = time.monotonic()
            console.print(f"insource: {name}: {done} of at most {total} packages compiled")

    yield step


def _copy_stages(target: Path) -> None:
    source = go_module_folder(KWOK, KWOK.requires)
    for stage in _STAGES:
        shutil.copyfile(source / "kustomize" / "stage" / stage, target / Path(stage).name)


def main() -> int:
    console = Console(stderr=True)
    try:
        found = binaries(console)
        for name in CRDS.modules:
            go_module_folder(CRDS, name)
    except BuildError as error:
        console.print(f"insource: {error}", markup=False)
        return 1
    for path in (found.etcd, found.apiserver, found.controller_manager, found.scheduler, found.kwok):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
