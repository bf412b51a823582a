"""What kube-router leaves is removed, and what others have is not; a kernel that cannot do it is told by its words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.node import policies
from tests.node.packages import tools
from tests.node.places import Places

pytestmark = pytest.mark.node

SCRIPT = """
import json, subprocess, sys
from pathlib import Path
from rich.console import Console
from tests.node import policies
from tests.node.packages import call, tools
from tests.node.places import Places

places, found = Places(run=Path(sys.argv[1])), tools(Console(stderr=True))
def filtering(*words, given=None):
    return call(words, env=found.filtering(), input=given)
def told():
    rules = [each for each in policies._saved(found) if each[:1] in ":-"]
    return {"rules": rules, "sets": sorted(policies._sets(found)), "bridged": policies.BRIDGED.read_text().strip()}
policies.BRIDGED.write_text("0")
if sys.argv[2] == "others":
    filtering("ipset", "create", "TMP-of-others", "hash:ip")
    filtering("iptables-restore", given="*filter\\n-A FORWARD -s 192.0.2.1/32 -j DROP\\nCOMMIT\\n")
before = told()
assert policies.prepare(places, found) == ""
filtering("ipset", "create", "KUBE-SRC-A", "hash:ip", "timeout", "0")
filtering("ipset", "create", "TMP-B", "hash:ip", "timeout", "0")
filtering("iptables-restore", "--noflush", given='''*filter
:KUBE-ROUTER-FORWARD - [0:0]
:KUBE-NWPLCY-DEFAULT - [0:0]
:KUBE-POD-FW-C - [0:0]
-I FORWARD 1 -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD
-A KUBE-ROUTER-FORWARD -s 10.245.0.2 -m comment --comment "a -j b" -j KUBE-POD-FW-C
-A KUBE-POD-FW-C -m set --match-set KUBE-SRC-A src -j KUBE-NWPLCY-DEFAULT
COMMIT
''')
during = told()
refused = ""
try:
    policies.check_free(found)
except policies.NodeError as error:
    refused = str(error)
policies.undo(places, found)
print(json.dumps({"before": before, "during": during, "after": told(), "refused": refused}))
"""


@pytest.mark.parametrize("who", ["others", "nobody"])
def test_what_it_made_is_gone_and_what_others_have_is_not(tmp_path: Path, who: str) -> None:
    """In a network namespace of its own: chains, sets and the sysctl are of one."""
    command = ["unshare", "--net", sys.executable, "-c", SCRIPT, str(tmp_path), who]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert "a kube-router works on this machine already" in said["refused"]
    assert said["during"]["bridged"] == "1"
    assert "KUBE-SRC-A" in said["during"]["sets"]
    assert any("KUBE-POD-FW-C" in rule for rule in said["during"]["rules"])
    assert said["after"] == said["before"]
    assert bool(said["before"]["rules"]) is (who == "others")


def test_a_kernel_that_lacks_something_is_told_by_its_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = tools(Console(stderr=True))
    monkeypatch.setattr(policies, "_PROBE", policies._PROBE.replace("-m physdev --physdev-is-bridged", "-m no-such"))
    places = Places(run=tmp_path)
    assert "no-such" in policies.prepare(places, found)
    assert "no-such" in policies.not_enforced(places)
    policies.undo(places, found)
    assert not (tmp_path / "filtering").exists()
