"""Whether this machine can be a node, tried out: what kubelet, containerd and kube-proxy will do is done once, small.

Each probe leaves nothing behind, also not what a killed one has left. Whatever passes here and fails later is no matter
of the machine, and a test says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.node import machine
from tests.node.packages import RELEASE, Tools, locked, release, tools
from tests.node.places import NodeError, Places

CANNOT = 77
"""Exit status of a command that was not run because this machine cannot be a node: automake's for a skipped test."""
FREE_BYTES = 8 * 1024**3
"""Images, their archives and a node's data, as measured (5 GB), and some more."""
_PROBE = "insource-probe"
_GATEWAY = "10.245.255.1"
_POD = "10.245.255.2"
_SERVICE = "10.97.255.254"
_PROGRAMS = ("ip", "unshare", "nsenter", "mount", "umount", "ldconfig", "dpkg")
_SYSCTLS = {"vm/overcommit_memory": "1", "kernel/panic": "10", "kernel/panic_on_oops": "1", "net/ipv4/ip_forward": "1"}
"""What kubelet and kube-proxy write where it is not so already, and end if they may not."""


def why_not(places: Places, console: Console) -> str:
    """Why this machine cannot be a node, what to do, or ''. Fetches Debian's packages if they are not in the cache."""
    if said := _plain(places):
        return said
    try:
        found = tools(console)
    except NodeError as error:
        return f"Debian's packages cannot be had: {error}"
    places.state.mkdir(parents=True, exist_ok=True)
    with locked(places.state / "preflight.lock"):
        for what, probe in _PROBES.items():
            _clean(found, places)
            try:
                probe(found, places)
            except (NodeError, OSError) as error:
                return f"{what}: {error}"
            finally:
                _clean(found, places)
    return ""


def _plain(places: Places) -> str:
    """What is seen without trying anything."""
    if sys.platform != "linux":
        return f"it needs Linux, and this is {sys.platform}"
    if os.geteuid() != 0:
        return "it needs root, for namespaces, mounts and a bridge"
    if release() != RELEASE or shutil.which("apt-get") is None:
        return f"the container runtime is that of Debian {RELEASE}, and this machine is not one"
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        return f"not on PATH: {', '.join(missing)}; install iproute2 and util-linux"
    if not Path("/dev/kmsg").exists():
        return "it has no /dev/kmsg, which the kubelet reads"
    for name, wanted in _SYSCTLS.items():
        path = Path("/proc/sys") / name
        if path.read_text().strip() != wanted and not os.access(path, os.W_OK):
            return f"/proc/sys/{name} is not {wanted} and cannot be written"
    there = next(each for each in (places.state, *places.state.parents) if each.exists())
    free = shutil.disk_usage(there).free
    # What was built already is room that is not needed again.
    if free < FREE_BYTES and not places.containerd_root.exists():
        return f"{there} has {free / 1024**3:.1f} GiB free, and the images need {FREE_BYTES / 1024**3:.0f}"
    return ""


def _call(*command: str | Path, given: str | None = None, env: dict[str, str] | None = None) -> str:
    """Raises NodeError with what the command said, in one line."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=given, env=env, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise NodeError(f"`{' '.join(words[:4])}` ended with {done.returncode}: {said}")
    return done.stdout


def _overlay(found: Tools, places: Places) -> None:
    """Where images will be: a file system over another one is not to be had everywhere."""
    del found
    with tempfile.TemporaryDirectory(prefix=_PROBE, dir=places.state) as name:
        folder = Path(name)
        for part in ("lower", "upper", "work", "merged"):
            (folder / part).mkdir()
        (folder / "lower/file").write_text("yes")
        options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
        script = 'mount -t overlay overlay -o "$0" "$1" && rm "$1/file" && test ! -e "$1/file"'
        _call("unshare", "--mount", "--propagation", "private", "sh", "-c", script, options, folder / "merged")


def _network(found: Tools, places: Places) -> None:
    """A pod's namespace on a bridge, which asks a Service's address and gets this machine's answer by nftables."""
    del places
    _call("ip", "link", "add", _PROBE, "type", "bridge")
    _call("ip", "address", "add", f"{_GATEWAY}/30", "dev", _PROBE)
    _call("ip", "link", "set", _PROBE, "up")
    _call("ip", "netns", "add", _PROBE)
    _call("ip", "link", "add", f"{_PROBE}0", "type", "veth", "peer", "name", "eth0", "netns", _PROBE)
    _call("ip", "link", "set", f"{_PROBE}0", "master", _PROBE, "up")
    inside = ("nsenter", f"--net=/run/netns/{_PROBE}")
    _call(*inside, "ip", "address", "add", f"{_POD}/30", "dev", "eth0")
    _call(*inside, "ip", "link", "set", "eth0", "up")
    _call(*inside, "ip", "route", "add", _SERVICE, "via", _GATEWAY)
    with _answering() as port:
        _call(*inside, found.path("nft"), "-f", "-", given=_rules(port), env=found.environment())
        ask = f"import socket; print(socket.create_connection(({_SERVICE!r}, 80), 5).recv(9).decode())"
        said = _call(*inside, sys.executable, "-c", ask).strip()
    if said != "yes":
        raise NodeError(f"a pod that asks a Service's address gets {said!r}")


def _rules(port: int) -> str:
    """In the way of kube-proxy: a map to verdicts, a choice of endpoints, DNAT, and masquerading."""
    return f"""\
table ip {_PROBE} {{
  chain endpoint {{ meta l4proto tcp dnat to {_GATEWAY}:{port}; }}
  chain service {{ numgen random mod 1 vmap {{ 0 : goto endpoint }}; }}
  map services {{
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = {{ {_SERVICE} . tcp . 80 : goto service }}
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    ip daddr . meta l4proto . th dport vmap @services
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    ct state new fib daddr type != local masquerade fully-random
  }}
}}
"""


@contextmanager
def _answering() -> Iterator[int]:
    """A port on the bridge that answers one connection."""
    with socket.create_server((_GATEWAY, 0)) as server:
        server.settimeout(10)

        def answer() -> None:
            with contextlib.suppress(OSError), server.accept()[0] as connection:
                connection.sendall(b"yes")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]
    thread.join(10)


def _container(found: Tools, places: Places) -> None:
    """A process as a pod's: all namespaces, its own control group with a limit, nobody's rights, seccomp."""
    with tempfile.TemporaryDirectory(prefix=_PROBE, dir=places.state) as name:
        bundle = Path(name)
        root = bundle / "root"
        for part in ("proc", "dev", "usr"):
            (root / part).mkdir(parents=True)
        for part in ("bin", "lib", "lib64"):
            (root / part).symlink_to(f"usr/{part}")
        (bundle / "config.json").write_text(json.dumps(_specification()))
        words = ("--root", places.state / _PROBE, "run", "--bundle", bundle, _PROBE)
        said = _call(found.path("runc"), *words, env=found.environment()).split()
    if said != ["65534"]:
        raise NodeError(f"a container that tells its user says {said}")


def _specification() -> dict[str, Any]:
    spaces = ("pid", "ipc", "uts", "mount", "network")
    reboot = {"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "args": ["/usr/bin/id", "-u"],
            "cwd": "/",
            "env": ["PATH=/usr/bin"],
            "user": {"uid": 65534, "gid": 65534},
            "noNewPrivileges": True,
        },
        "root": {"path": "root", "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]},
        ],
        "linux": {
            "namespaces": [{"type": each} for each in spaces],
            "cgroupsPath": f"/{_PROBE}/container",
            "resources": {"memory": {"limit": 256 * 1024**2}, "cpu": {"shares": 128}, "pids": {"limit": 64}},
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [reboot]},
            "maskedPaths": ["/proc/kcore"],
        },
    }


def _groups(found: Tools, places: Places) -> None:
    """The kubelet's root group in each hierarchy."""
    del found, places
    machine.make_cgroups(Places(cgroup=_PROBE))


_PROBES: dict[str, Callable[[Tools, Places], None]] = {
    "no overlay file system can be made here": _overlay,
    "no pod network with a Service can be made here": _network,
    "no control group can be made here": _groups,
    "no container runs here": _container,
}
"""What does not work if it fails -> the probe."""


def _clean(found: Tools, places: Places) -> None:
    """Whatever a probe has made, this one's or one's that was killed."""
    if (places.state / _PROBE).exists():
        runc = [str(found.path("runc")), "--root", str(places.state / _PROBE), "delete", "--force", _PROBE]
        subprocess.run(runc, env=found.environment(), capture_output=True, check=False)
        shutil.rmtree(places.state / _PROBE, ignore_errors=True)
    for words in (("netns", "del", _PROBE), ("link", "del", f"{_PROBE}0"), ("link", "del", _PROBE)):
        subprocess.run(["ip", *words], capture_output=True, check=False)
    machine.unmake_cgroups(Places(cgroup=_PROBE))
    for folder in places.state.glob(f"{_PROBE}?*"):
        shutil.rmtree(folder, ignore_errors=True)
