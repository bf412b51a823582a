"""What the how-to pages tell an operator to type works as it stands there, against a running installation."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from insource.cli.state import Layout
from insource.gateway.certificate import check_pair
from tests.e2e.installation import CLIPS, EXAMPLES, KUBECTL, ROOT, Installation, deployment, eventually
from tests.gateway.test_adapter_vendor_way import Proxy, private_endpoint
from tests.pki import MountedFolder

NO_NAMES = '{"spec": {"servedNames": null}}'

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.xdist_group("e2e-how-to")]


class Page:
    """The blocks of a page, to be typed one after the other into one shell."""

    def __init__(self, name: str, installation: Installation, folder: Path, **variables: str) -> None:
        text = (ROOT / "docs" / "how-to" / f"{name}.md").read_text()
        self.blocks: list[tuple[str, str]] = re.findall(r"```sh\n(.*?)```(?:\n```text\n(.*?)```)?", text, re.DOTALL)
        self._folder = folder
        self._variables = folder / "variables.sh"
        self._variables.write_text("".join(f"{key}='{value}'\n" for key, value in variables.items()))
        (folder / "kubectl").unlink(missing_ok=True)
        (folder / "kubectl").symlink_to(KUBECTL)
        self.environment = {
            **installation.environment,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "KUBECONFIG": str(installation.data / "kubeconfig"),
            "INSOURCE_GATEWAY": installation.state["gateway_url"],
            "INSOURCE_AGENT": installation.state["agent_url"],
        }

    def type(self, number: int, **replacements: str) -> None:
        """Run one block; where the page shows what it prints, until it prints that."""
        command, shown = self.blocks[number]
        for before, after in replacements.items():
            assert before in command
            command = command.replace(before, after)
        if not shown:
            self._run(command)
            return
        printed: list[str] = []

        def prints_that() -> bool:
            printed[:] = [self._run(command, check=False)]
            return printed[0] == shown

        eventually(prints_that, timeout_s=90, what=lambda: f"{command}\nprinted {printed}, and not\n{shown}")

    def type_all(self) -> None:
        for number in range(len(self.blocks)):
            self.type(number)

    def _run(self, command: str, check: bool = True) -> str:
        script = f"set -eu\nset -a\n. '{self._variables}'\n{command}\nset +a\nexport -p > '{self._variables}'\n"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            cwd=self._folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout


def vendor_only(name: str) -> dict[str, Any]:
    wanted = deployment(name, spill=False)
    wanted["spec"]["backends"] = wanted["spec"]["backends"][1:]
    wanted["spec"]["traffic"] = {"primary": "openai"}
    del wanted["spec"]["replicas"]
    return wanted


@pytest.fixture(scope="module")
def served(installation: Installation) -> Installation:
    """With a ModelDeployment that the emulated vendor serves."""
    installation.apply(vendor_only("dictation"))
    installation.wait_ready("dictation")
    return installation


def ask(served: Installation) -> int:
    return served.post("dictation", audio=CLIPS[0].read_bytes()).status_code


def test_client_keys(served: Installation, tmp_path: Path) -> None:
    page = Page("client-keys", served, tmp_path)
    assert len(page.blocks) == 10
    page.type_all()


def test_several_teams(served: Installation, tmp_path: Path) -> None:
    page = Page("teams", served, tmp_path)
    assert len(page.blocks) == 8
    page.type_all()
    assert ask(served) == 200, "the own clients were not touched"


def test_one_base_url_for_all_models(served: Installation, tmp_path: Path) -> None:
    page = Page("one-base-url", served, tmp_path, key=served.api_key, clip=str(CLIPS[0]))
    assert len(page.blocks) == 7
    try:
        page.type_all()
    finally:
        served.kubectl("-n", "voice", "patch", "modeldeployment", "dictation", "--type=merge", "-p", NO_NAMES)


def test_by_name_as_in_the_example(served: Installation) -> None:
    before = served.get("modeldeployment", "dictation", "-n", "voice")["spec"]
    served.kubectl("apply", "-f", str(EXAMPLES / "by-name.yaml"))
    try:
        served.wait_ready("dictation")
        with openai.OpenAI(base_url=f"{served.state['gateway_url']}/v1", api_key=served.api_key) as client:
            eventually(lambda: "openai/whisper-1" in {each.id for each in client.models.list()}, timeout_s=90)
            for model in ("whisper-1", "openai/whisper-1", "voice/dictation"):
                assert client.audio.transcriptions.create(file=CLIPS[0], model=model).text
    finally:
        patch = [{"op": "replace", "path": "/spec", "value": before}]
        served.kubectl("-n", "voice", "patch", "modeldeployment", "dictation", "--type=json", "-p", json.dumps(patch))


def pod_uids(served: Installation) -> set[str]:
    pods = served.get("pods", "-n", "voice", "-l", "insource.dev/vendor=openai")["items"]
    return {pod["metadata"]["uid"] for pod in pods}


def test_a_vendors_key(served: Installation, tmp_path: Path) -> None:
    accepted = Layout(served.data).vendor_key("openai")
    before = accepted.read_text()
    pods = pod_uids(served)
    page = Page("rotate-a-vendor-key", served, tmp_path, NEW_KEY="sk-nobody-knows-it")
    try:
        # One that the vendor does not know is told, ...
        page.type(0)

        def refused() -> bool:
            ask(served)
            vendor = served.get("vendor", "openai", "-n", "voice")
            return any(
                each["type"] == "CredentialsResolved" and each["status"] == "False" and "openai-key" in each["message"]
                for each in vendor["status"]["conditions"]
            )

        eventually(refused, timeout_s=90, what="the refused key was not told")
        # ... and the right one is all that it needs.
        accepted.write_text(before + "sk-the-second-one\n")
        page = Page("rotate-a-vendor-key", served, tmp_path, NEW_KEY="sk-the-second-one")
        page.type(0)
        accepted.write_text("sk-the-second-one\n")
        eventually(lambda: ask(served) == 200, timeout_s=90, what="the new key does not serve")
        page.type(1)
        assert pod_uids(served) == pods
    finally:
        accepted.write_text(before)
        Page("rotate-a-vendor-key", served, tmp_path, NEW_KEY=before.strip()).type(0)


@contextmanager
def in_background(folder: Path, proxy: Proxy) -> Iterator[Any]:
    """A vendor of a private CA and a proxy, served by a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    place = private_endpoint(folder, proxy)
    try:
        yield asyncio.run_coroutine_threadsafe(place.__aenter__(), loop).result(30)
    finally:
        asyncio.run_coroutine_threadsafe(place.__aexit__(None, None, None), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_vendor_behind_a_proxy(served: Installation, tmp_path: Path) -> None:
    before = served.get("vendor", "openai", "-n", "voice")["spec"]
    proxy = Proxy(credentials="insource:change-me")
    with in_background(tmp_path, proxy) as there:
        page = Page("vendors-behind-a-proxy", served, tmp_path)
        (tmp_path / "ca.crt").write_text(there.authority.pem)
        real = {
            "https://api.openai.com/v1": f"https://127.0.0.1:{there.port}/v1",
            "http://proxy.example:3128": f"http://127.0.0.1:{proxy.port}",
        }
        page.type(0, **real)
        page.type(1)
        eventually(lambda: ask(served) == 200, timeout_s=90, what="not served through the proxy")
        assert f"127.0.0.1:{there.port}" in proxy.asked
        assert there.vendor.calls
        served.kubectl(
            "-n", "voice", "patch", "vendor", "openai", "--type=json", "-p",
            f'[{{"op": "replace", "path": "/spec", "value": {json.dumps(before)}}}]',
        )  # fmt: skip
        eventually(lambda: ask(served) == 200, timeout_s=90, what="not served directly again")


def test_tls(served: Installation, tmp_path: Path) -> None:
    page = Page("tls", served, tmp_path)
    page.type(0)

    def mounted() -> dict[str, str]:
        data = served.get("secret", "insource-gateway-tls", "-n", "insource-system")["data"]
        return {name: base64.b64decode(text).decode() for name, text in data.items()}

    first = mounted()
    check_pair(MountedFolder(tmp_path / "first", first).path)
    page.type(1)
    second = mounted()
    assert second["tls.crt"] != first["tls.crt"]
    check_pair(MountedFolder(tmp_path / "second", second).path)
