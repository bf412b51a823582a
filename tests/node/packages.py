"""Debian's containerd, runc, buildah and what they need, unpacked into the cache: nothing of the system is changed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.node.places import NodeError, cache_folder

RELEASE = "bookworm"
PACKAGES = (
    "containerd", "runc", "buildah", "golang-github-containers-common", "containernetworking-plugins", "debootstrap",
    "nftables", "libnftables1", "libnftnl11", "libmnl0", "libjansson4", "libedit2", "libbsd0", "libmd0", "libgmp10",
    "libxtables12", "libseccomp2", "libgpgme11", "libassuan0", "libgpg-error0", "libdevmapper1.02.1", "libudev1",
    "libselinux1", "uidmap",
    "iptables", "ipset", "libipset13", "libip4tc2", "libip6tc2", "libnetfilter-conntrack3", "libnfnetlink0",
)  # fmt: skip
"""By name of Debian 12. The versions are those of the release's present point, as with any system that follows it."""
_IPTABLES = ("iptables", "iptables-save", "iptables-restore")


@dataclass(frozen=True)
class Tools:
    """A root folder of unpacked packages."""

    root: Path

    def path(self, name: str) -> Path:
        for folder in ("usr/bin", "usr/sbin", "sbin", "bin"):
            if (found := self.root / folder / name).exists():
                return found
        raise NodeError(f"{name} is in none of the packages under {self.root}: remove that folder and try again")

    @property
    def cni(self) -> Path:
        return self.root / "usr/lib/cni"

    def filtering(self) -> dict[str, str]:
        """For a program that calls iptables and ipset. Others do not find an iptables here, so that none tries it."""
        environment = self.environment()
        modules = self.root / f"usr/lib/{platform.machine()}-linux-gnu/xtables"
        return {
            **environment,
            "PATH": f"{self.root / 'iptables'}:{environment['PATH']}",
            "XTABLES_LIBDIR": str(modules),
        }

    def environment(self) -> dict[str, str]:
        """For a program of these packages: it finds its siblings and its libraries here first."""
        folders = [str(self.root / each) for each in ("usr/bin", "usr/sbin", "sbin")]
        libraries = [str(self.root / each / f"{platform.machine()}-linux-gnu") for each in ("usr/lib", "lib")]
        return {
            **os.environ,
            "PATH": ":".join([*folders, "/usr/sbin", "/sbin", os.environ.get("PATH", "/usr/bin:/bin")]),
            "LD_LIBRARY_PATH": ":".join(libraries),
            "DEBOOTSTRAP_DIR": str(self.root / "usr/share/debootstrap"),
        }

    def with_libraries(self, *command: str | Path) -> list[str | Path]:
        """A command whose children find these libraries too, even those that it starts with an empty environment.

        It sees a linker's cache of our own, in a mount namespace of its own: the machine's stays as it is.
        """
        cache, configuration = self.root / "ld.so.cache", self.root / "ld.so.conf"
        if not cache.exists():
            machine = f"{platform.machine()}-linux-gnu"
            own = "".join(f"{self.root / each / machine}\n" for each in ("usr/lib", "lib"))
            configuration.write_text(own + Path("/etc/ld.so.conf").read_text())
            call(["ldconfig", "-C", cache, "-f", configuration], env=self.environment())
        script = 'mount --bind "$0" /etc/ld.so.cache && exec "$@"'
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, cache, *command]

    def run(self, *command: str | Path, what: str = "", **more: object) -> str:
        """What it says. Raises NodeError with its last lines."""
        return call(command, what, env=self.environment(), **more)


def call(command: Sequence[str | Path], what: str = "", **more: object) -> str:
    """Runs a command to its end. Raises NodeError with its last lines."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise NodeError(f"{what or ' '.join(words[:3])} failed ({done.returncode}):\n{said}")
    return str(done.stdout)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the kernel lets go of it when we die."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def release() -> str:
    """The code name of the distribution, or ''."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    return ""


def tools(console: Console) -> Tools:
    """Fetch what the cache lacks (44 MB, seconds). Raises NodeError."""
    if release() != RELEASE or shutil.which("apt-get") is None:
        raise NodeError(
            f"the node's container runtime is that of Debian {RELEASE}, and this machine is not one: run it in such "
            "a machine, or name a cluster of yours by KUBECONFIG_FOR_TESTS, or start Docker and install kind"
        )
    key = hashlib.sha256("\0".join((RELEASE, platform.machine(), *PACKAGES)).encode()).hexdigest()[:12]
    target = cache_folder() / f"debian-{RELEASE}-{key}"
    with locked(target.with_name(f"{target.name}.lock")):
        if not target.is_dir():
            console.print(f"insource: fetching Debian's {', '.join(PACKAGES[:3])} and what they need (once)")
            scratch = Path(tempfile.mkdtemp(prefix="debian-", dir=target.parent))
            try:
                _fetch(scratch)
                (scratch / "root").rename(target)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return Tools(target)


def _fetch(scratch: Path) -> None:
    try:
        call(["apt-get", "download", *PACKAGES], cwd=scratch)
    except NodeError:
        call(["apt-get", "update"], "apt-get update")
        call(["apt-get", "download", *PACKAGES], "fetching Debian packages", cwd=scratch)
    for package in sorted(scratch.glob("*.deb")):
        call(["dpkg", "-x", package, scratch / "root"])
    # Installed, these are Debian's alternatives; the variant by nftables is its default.
    (scratch / "root/iptables").mkdir()
    for name in _IPTABLES:
        (scratch / "root/iptables" / name).symlink_to("../usr/sbin/xtables-nft-multi")


def mirror() -> str:
    """Where this machine gets Debian's packages."""
    wanted = ("Created-By: Packages", f"Codename: {RELEASE}", "Component: main")
    said = call(["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted]).split()
    return said[0] if said else "http://deb.debian.org/debian"
