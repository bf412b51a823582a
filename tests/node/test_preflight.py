"""The preflight tells a machine that cannot be a node from one on which a test fails, and leaves both as they were."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from tests.node import machine, preflight
from tests.node.packages import tools
from tests.node.places import NodeError, Places

PROBE = "insource-probe"


def traces_of_probes(state: Path) -> list[str]:
    """What a probe could have left on the machine."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    spaces = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    mounts = Path("/proc/mounts").read_text()
    found = [line for text in (links, spaces, mounts) for line in text.splitlines() if PROBE in line]
    found += [str(path) for path in state.glob(f"{PROBE}*")]
    return found + [str(path) for path in machine.CGROUPS.glob(f"*/{PROBE}*")]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    state = tmp_path / "state"
    state.mkdir()
    return Places(run=tmp_path / "run", state=state)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("FREE_BYTES", 1 << 62, "GiB free, and the images need"),
        ("_PROGRAMS", ("ip", "no-such-program"), "not on PATH: no-such-program"),
        ("RELEASE", "sid", "Debian sid, and this machine is not one"),
    ],
)
def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, places: Places, name: str, value: object, words: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("asked as root only: anybody else is refused before")
    if name != "RELEASE" and preflight.release() != preflight.RELEASE:
        pytest.skip("another distribution is refused before")
    monkeypatch.setattr(preflight, name, value)
    assert words in preflight.why_not(places, Console(file=io.StringIO()))


def test_packages_that_cannot_be_fetched_are_the_machines_matter(
    monkeypatch: pytest.MonkeyPatch, places: Places
) -> None:
    def refuse(console: Console) -> None:
        raise NodeError("no mirror answers")

    monkeypatch.setattr(preflight, "_plain", lambda _: "")
    monkeypatch.setattr(preflight, "tools", refuse)
    assert preflight.why_not(places, Console()) == "Debian's packages cannot be had: no mirror answers"


@pytest.mark.node
class TestOnThisMachine:
    """It passes here, or its tests would not run: `make node-test` has asked before."""

    def test_it_leaves_nothing(self, places: Places) -> None:
        assert preflight.why_not(places, Console(stderr=True)) == ""
        assert traces_of_probes(places.state) == []

    @pytest.mark.parametrize(
        ("what", "name", "broken"),
        [
            ("no pod network", "_rules", lambda port: f"table ip {PROBE} {{ chain a {{ no-such-word }} }}"),
            ("no pod network", "_SERVICE", "10.97.255.253"),
            ("no container runs here", "_specification", lambda: {"ociVersion": "1.0.2", "linux": {}}),
        ],
    )
    def test_a_probe_that_fails_is_the_reason_and_leaves_nothing(
        self, monkeypatch: pytest.MonkeyPatch, places: Places, what: str, name: str, broken: object
    ) -> None:
        if name == "_SERVICE":
            # A Service that nobody's rules know: it must not look as if it answered.
            rules = preflight._rules
            monkeypatch.setattr(preflight, "_rules", lambda port: rules(port).replace("10.97.255.253", "10.97.255.1"))
        monkeypatch.setattr(preflight, name, broken)
        assert preflight.why_not(places, Console(stderr=True)).startswith(what)
        assert traces_of_probes(places.state) == []

    def test_what_a_killed_one_has_left_is_no_hindrance(self, places: Places) -> None:
        found = tools(Console(stderr=True))
        preflight._network(found, places)
        preflight._groups(found, places)
        assert traces_of_probes(places.state)
        assert preflight.why_not(places, Console(stderr=True)) == ""
        assert traces_of_probes(places.state) == []
