"""A second node of the same cluster on the same machine, for what one alone cannot show: pods that move.

Its containerd, kubelet and kube-proxy run in a network namespace of their own, joined to the machine by a pair of
interfaces; its pods are on a bridge in there. Images are of its own containerd. Control plane and DNS are the first's.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.node import daemons, files, machine, policies
from tests.node.node import Node
from tests.node.packages import call
from tests.node.places import Places

LINK = "insource1"
HERE = "10.245.254.1"
"""This machine's end of the pair; the other end is the second node's address."""


@dataclass
class Second:
    """Beside a first one that is up. `up` begins from nothing; `down` undoes whatever there is."""

    first: Node

    @cached_property
    def node(self) -> Node:
        return Node(self.first.places.second, self.first.console)

    @property
    def places(self) -> Places:
        return self.node.places

    def up(self) -> None:
        """From nothing to Ready. Raises NodeError."""
        self.down()
        node = self.node
        self._write()
        self._connect()
        machine.make_cgroups(self.places)
        node.start("containerd")
        daemons.wait_until(self.places, node.containerd_answers, "the second node's containerd", ["containerd"])
        node.import_pause(node.binaries.pause)
        for name in ("kubelet", "kube-proxy"):
            node.start(name)
        programs = ("containerd", "kubelet", "kube-proxy")
        daemons.wait_until(self.places, node.ready, "the second node", programs)
        if not policies.not_enforced(self.first.places):
            node.start(policies.PROGRAM)
            ready = "the second node's network policies"
            daemons.wait_until(
                self.places, lambda: policies.enforces(node.tools, self.places), ready, [policies.PROGRAM]
            )

    def down(self) -> None:
        """Everything but images and logs. What the API server knows of the node is the caller's."""
        if not self.places.run.exists() and not node_space(self.places).exists():
            return
        for name in ("kube-proxy", policies.PROGRAM):
            daemons.stop(self.places, name, signal.SIGKILL)
        self.node.end_containers()
        for command in (("link", "del", LINK), ("netns", "del", self.places.space)):
            subprocess.run(["ip", *command], capture_output=True, check=False)
        machine.unmake_cgroups(self.places)
        shutil.rmtree(self.places.state / "kubelet", ignore_errors=True)
        shutil.rmtree(self.places.run, ignore_errors=True)

    def _write(self) -> None:
        run, first = self.places.run, self.first.places.run
        for folder in (run / "cni", run / "pki", self.places.state):
            folder.mkdir(parents=True, exist_ok=True)
        copied = {
            "pki/ca.pem": "pki/ca.pem",
            "pki/kubelet-2.pem": "pki/kubelet.pem",
            "pki/kubelet-2.key": "pki/kubelet.key",
            "kubelet-2.kubeconfig": "kubelet.kubeconfig",
            "proxy.kubeconfig": "proxy.kubeconfig",
            "policies.kubeconfig": "policies.kubeconfig",
            "admin.kubeconfig": "admin.kubeconfig",
        }
        for theirs, own in copied.items():
            shutil.copy(first / theirs, run / own)
        texts = {
            "containerd.toml": files.containerd(self.places, self.node.tools.cni),
            "cni/10-insource.conflist": files.pod_network(self.places),
            "kubelet.yaml": files.kubelet(self.places),
            "kube-proxy.yaml": files.kube_proxy(self.places),
        }
        for name, text in texts.items():
            (run / name).write_text(text)

    def _connect(self) -> None:
        """Both ways through the machine, so that its connection tracking sees both."""
        places = self.places
        call(["ip", "netns", "add", places.space])
        call(["ip", "link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", places.space])
        call(["ip", "address", "add", f"{HERE}/30", "dev", LINK])
        call(["ip", "link", "set", LINK, "up"])
        inside = ("nsenter", f"--net={node_space(places)}")
        call([*inside, "ip", "link", "set", "lo", "up"])
        call([*inside, "ip", "address", "add", f"{places.address}/30", "dev", "eth0"])
        call([*inside, "ip", "link", "set", "eth0", "up"])
        call([*inside, "ip", "route", "add", places.cluster, "via", HERE])
        call([*inside, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
        if not policies.not_enforced(self.first.places):
            call([*inside, "sh", "-c", f"echo 1 > {policies.BRIDGED}"])
        call(["ip", "route", "add", places.pods, "via", places.address])


def node_space(places: Places) -> Path:
    return Path("/run/netns") / places.space
