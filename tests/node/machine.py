"""What the node changes of the machine, and how each change is undone: a bridge, a route, cgroups, mounts, tables."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.node.packages import Tools, call
from tests.node.places import NodeError, Places

CGROUPS = Path("/sys/fs/cgroup")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def check_free(places: Places, tools: Tools) -> None:
    """Raises NodeError if something that is not ours is where we would be."""
    for name, (address, port) in places.listeners().items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise NodeError(
                    f"port {port}, which {name} of the node needs, is taken ({error.strerror}): "
                    f"see who has it (`ss -ltnp 'sport = :{port}'`), end that, then `make cluster-up` again"
                ) from None
    if any(has_table(tools, family) for family in ("ip", "ip6")):
        raise NodeError(
            "a kube-proxy works on this machine already (nftables has a table `kube-proxy`), and a machine has room "
            "for one: stop it, or delete what it left (`nft delete table ip kube-proxy`, and the same of `ip6`)"
        )
    if Path(f"/sys/class/net/{places.bridge}").exists():
        raise NodeError(f"a network interface {places.bridge} exists and is not ours: `ip link del {places.bridge}`")


def has_table(tools: Tools, family: str) -> bool:
    command = [str(tools.path("nft")), "list", "table", family, "kube-proxy"]
    return subprocess.run(command, env=tools.environment(), capture_output=True, check=False).returncode == 0


def make_network(places: Places) -> None:
    """The bridge, before the first pod: API server and kubelet listen on its address, on none of the machine's own."""
    # First: that this file is there says that bridge and tables are ours.
    (places.run / "ip_forward").write_text(FORWARDING.read_text())
    call(["ip", "link", "add", places.bridge, "type", "bridge"])
    call(["ip", "address", "add", f"{places.gateway}/24", "dev", places.bridge])
    call(["ip", "link", "set", places.bridge, "up"])
    # A service without endpoints must not be looked for on the Internet.
    call(["ip", "route", "add", places.services, "dev", places.bridge])
    FORWARDING.write_text("1\n")


def unmake_network(places: Places, tools: Tools) -> None:
    before = places.run / "ip_forward"
    if not before.exists():
        return
    for family in ("ip", "ip6"):
        if has_table(tools, family):
            call([tools.path("nft"), "delete", "table", family, "kube-proxy"], env=tools.environment())
    if Path(f"/sys/class/net/{places.bridge}").exists():
        call(["ip", "link", "del", places.bridge])
    FORWARDING.write_text(before.read_text())


def _hierarchies() -> list[Path]:
    """Where a control group is a folder: once with cgroup 2, else per controller."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    names = (
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "devices",
        "freezer",
        "blkio",
        "pids",
        "systemd",
        "hugetlb",
        "perf_event",
    )
    return [CGROUPS / name for name in names if (CGROUPS / name / "cgroup.procs").exists()]


def make_cgroups(places: Places) -> None:
    """The kubelet's root group. With another kubelet on the machine, each would else end the other's pods."""
    for hierarchy in _hierarchies():
        group = hierarchy / places.cgroup
        group.mkdir(exist_ok=True)
        if hierarchy == CGROUPS:
            controllers = (hierarchy / "cgroup.controllers").read_text().split()
            (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))
        if (group / "cpu.shares").exists():
            # As where the kubelet's root is the machine's: else all pods together weigh as much as one process.
            (group / "cpu.shares").write_text(str(1024 * (os.cpu_count() or 1)))
        if hierarchy.name == "cpuset":
            # Of version 1, a new group has no processor and no memory, hence no process.
            for name in ("cpuset.cpus", "cpuset.mems"):
                (group / name).write_text((hierarchy / name).read_text())


def unmake_cgroups(places: Places) -> None:
    for hierarchy in {*_hierarchies(), CGROUPS / "unified"}:
        group = hierarchy / places.cgroup
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def unmount(*folders: Path) -> None:
    """Everything below them, the innermost first."""
    for target in sorted(_mounts(folders), reverse=True):
        call(["umount", "-l", target])


def _mounts(folders: tuple[Path, ...]) -> Iterator[str]:
    for line in Path("/proc/mounts").read_text().splitlines():
        target = line.split()[1].encode().decode("unicode_escape")
        if any(target.startswith(f"{folder}/") for folder in folders):
            yield target
