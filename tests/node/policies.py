"""What enforces NetworkPolicies: kube-router as a firewall only, by iptables and ipsets, which are gone after `down`.

A kernel that lacks something of it still is a node. Its policies are accepted and not enforced then, and it says so.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.node.packages import Tools, call
from tests.node.places import NodeError, Places

PROGRAM = "kube-router"
NOT_ENFORCED = "NETWORK POLICIES ARE NOT ENFORCED, because this kernel does not do what kube-router asks"
BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
"""Whether what one pod sends another over the bridge is seen at all. Of the network namespace."""
_CHAINS = ("KUBE-ROUTER-", "KUBE-NWPLCY-", "KUBE-POD-FW-")
_SETS = ("KUBE-SRC-", "KUBE-DST-", "TMP-")
_PROBE = """\
*filter
:PROBE - [0:0]
-A FORWARD -m comment --comment "a pod" -m physdev --physdev-is-bridged -s 10.245.0.2 -j PROBE
-A PROBE -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A PROBE -m addrtype --src-type LOCAL -j ACCEPT
-A PROBE -p tcp -m set --match-set probe src -m set --match-set ranges dst --dport 8101:8104 -j MARK --set-xmark 0x1/0x1
-A PROBE -m limit --limit 10/minute --limit-burst 10 -m mark ! --mark 0x1/0x1 -j NFLOG --nflog-group 100
-A PROBE -m mark ! --mark 0x1/0x1 -j REJECT
COMMIT
"""
"""Every match and target that kube-router uses."""


def why_not(tools: Tools) -> str:
    """What this kernel lacks of it, in one line, or ''. Tried out in a network namespace that is gone at once."""
    script = f"""\
test -w {BRIDGED} || {{ echo no {BRIDGED} >&2; exit 1; }}
ipset create probe hash:ip timeout 0
ipset create ranges hash:net timeout 0
iptables-restore"""
    command = ["unshare", "--net", "sh", "-ec", script]
    done = subprocess.run(command, input=_PROBE, env=tools.filtering(), capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else " ".join((done.stderr or done.stdout).split()) or f"{done.returncode}"


def not_enforced(places: Places) -> str:
    """Why the node that is up does not enforce them, or ''."""
    path = places.run / "policies-not-enforced"
    return path.read_text() if path.exists() else ""


def prepare(places: Places, tools: Tools) -> str:
    """Records what is there before, and lets iptables see what pods send each other. `not_enforced` afterwards."""
    if reason := why_not(tools):
        (places.run / "policies-not-enforced").write_text(reason)
        return reason
    before = {"bridged": BRIDGED.read_text(), "table": _has_table(tools), "sets": sorted(_sets(tools))}
    # First: that this file is there says that chains and sets are ours.
    (places.run / "filtering").write_text(json.dumps(before))
    BRIDGED.write_text("1\n")
    return ""


def undo(places: Places, tools: Tools) -> None:
    """Once kube-router has ended. Rules of others stay."""
    path = places.run / "filtering"
    if not path.exists():
        return
    before = json.loads(path.read_text())
    if _has_table(tools) and not before["table"]:
        call([tools.path("nft"), "delete", "table", "ip", "filter"], env=tools.environment())
    elif _has_table(tools):
        _remove_chains(tools)
    for name in _sets(tools) - set(before["sets"]):
        if name.startswith(_SETS):
            call(["ipset", "destroy", name], env=tools.filtering())
    BRIDGED.write_text(before["bridged"])


def enforces(tools: Tools, places: Places) -> bool:
    """Whether kube-router has come so far that packets go through its chains."""
    space = [f"--net=/run/netns/{places.space}"] if places.space else []
    command = ["nsenter", *space, str(tools.path("nft")), "list", "chain", "ip", "filter", "KUBE-NWPLCY-DEFAULT"]
    return subprocess.run(command, env=tools.environment(), capture_output=True, check=False).returncode == 0


def check_free(tools: Tools) -> None:
    """Raises NodeError where another kube-router has the names of these chains."""
    if any(line.startswith(f":{_CHAINS[0]}") for line in _saved(tools)):
        raise NodeError(
            "a kube-router works on this machine already (iptables has chains KUBE-ROUTER-...), and a machine has "
            "room for one: stop it, and remove what it left (`kube-router --cleanup-config`)"
        )


def _has_table(tools: Tools) -> bool:
    command = [str(tools.path("nft")), "list", "table", "ip", "filter"]
    return subprocess.run(command, env=tools.environment(), capture_output=True, check=False).returncode == 0


def _saved(tools: Tools) -> list[str]:
    """The rules of the table `filter`; none where there is none, for to ask iptables would make it."""
    if not _has_table(tools):
        return []
    return call(["iptables-save", "-t", "filter"], env=tools.filtering()).splitlines()


def _remove_chains(tools: Tools) -> None:
    saved = _saved(tools)
    chains = [line[1:].split()[0] for line in saved if line.startswith(tuple(f":{each}" for each in _CHAINS))]
    jumps = [line for line in saved if line.startswith("-A ") and any(f"-j {each}" in line for each in _CHAINS)]
    own = tuple(f"-A {chain} " for chain in chains)
    deleted = [line.replace("-A", "-D", 1) for line in jumps if not line.startswith(own)]
    rules = [*deleted, *(f"-F {each}" for each in chains), *(f"-X {each}" for each in chains)]
    text = "\n".join(("*filter", *rules, "COMMIT", ""))
    call(["iptables-restore", "--noflush"], env=tools.filtering(), input=text)


def _sets(tools: Tools) -> set[str]:
    return set(call(["ipset", "list", "-n"], env=tools.filtering()).split())
