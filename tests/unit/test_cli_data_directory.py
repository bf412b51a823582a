"""The data directory: one `up` at a time, secrets for the owner only, ports kept where they are free."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

import click
import pytest

from insource.cli.manifests import read_manifests
from insource.cli.ports import NAMES, choose_ports
from insource.cli.seed import write_credentials
from insource.cli.state import Layout, State
from insource.env import system_env

VENDORS = ("openai", "azure-speech", "azure-images")


def state(pid: int = 1) -> State:
    urls = dict.fromkeys(("api_url", "gateway_url", "ledger_url", "agent_url"), "http://127.0.0.1:1")
    return State(pid=pid, run_dir="/run", ledger_reader_token_file="/t", **urls)  # type: ignore[arg-type]


def test_a_second_holder_is_told_where_the_first_is(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.make()
    with layout.locked():
        with pytest.raises(click.ClickException, match="not ready"):
            layout.require_running()
        layout.write_state(state(pid=4711))
        assert layout.running_state() is not None
        with pytest.raises(click.ClickException, match="not ready"):
            layout.require_running()
        layout.write_state(state(pid=4711).model_copy(update={"phase": "ready"}))
        assert layout.require_running().pid == 4711
        with pytest.raises(click.ClickException, match=r"already running.*4711"), layout.locked():
            pass
    assert layout.running_state() is None
    with pytest.raises(click.ClickException, match="insource up"):
        layout.require_running()


def test_credentials_are_private_and_kept(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.make()
    write_credentials(layout, "http://127.0.0.1:1", system_env())
    before = {path: path.read_text() for path in (layout.tokens, layout.api_key, layout.gateway_master)}
    for path in (*before, layout.kubeconfig, *map(layout.vendor_key, VENDORS), layout.component_kubeconfig("operator")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(layout.credentials.stat().st_mode) == 0o700
    write_credentials(layout, "http://127.0.0.1:2", system_env())
    assert {path: path.read_text() for path in before} == before
    assert len({layout.vendor_key(vendor).read_text() for vendor in VENDORS}) == len(VENDORS)
    assert "http://127.0.0.1:2" in layout.kubeconfig.read_text()


def test_ports_are_kept_unless_somebody_has_them(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    first, _ = choose_ports(path)
    assert set(first) == set(NAMES)
    assert len(set(first.values())) == len(NAMES)
    assert choose_ports(path) == (first, ())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first["gateway"]))
        taken.listen()
        second, moved = choose_ports(path)
        with pytest.raises(click.ClickException) as refused:
            choose_ports(path, {"gateway": first["gateway"]})
    assert second["gateway"] != first["gateway"]
    assert [(m.name, m.before, m.after) for m in moved] == [("gateway", first["gateway"], second["gateway"])]
    assert f"pid {os.getpid()} (" in moved[0].owner
    for said in (f"port {first['gateway']}", f"pid {os.getpid()} (", "--gateway-port"):
        assert said in refused.value.message
    assert choose_ports(path, {"gateway": first["gateway"]})[0] == first
    assert choose_ports(path, {"gateway": second["gateway"]})[0] == second
    assert {n: p for n, p in second.items() if n != "gateway"} == {n: p for n, p in first.items() if n != "gateway"}
    assert json.loads(path.read_text()) == second


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cannot be read as YAML"),
        ("- 1", "no apiVersion and kind"),
        ("apiVersion: v1\nkind: Pod", "use kubectl"),
    ],
)
def test_a_wrong_manifest_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(click.ClickException, match=message) as caught:
        read_manifests((file,))
    assert str(file) in caught.value.message
