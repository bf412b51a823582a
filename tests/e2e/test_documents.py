"""What the README tells a newcomer to type works as it stands there, and every example can be applied."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import yaml

from tests.e2e.installation import EXAMPLES, KUBECTL, ROOT, Installation, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.models, pytest.mark.timeout(240), pytest.mark.xdist_group("e2e-documents")]
README = (ROOT / "README.md").read_text()


def block(language: str, containing: str) -> str:
    """The fenced block of the README in this language that contains this text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    (found,) = [each for each in blocks if containing in each]
    return str(found)


def test_the_readme_shows_the_example_as_it_is() -> None:
    shown = yaml.safe_load(block("yaml", "ModelDeployment"))
    (example,) = [
        each
        for each in yaml.safe_load_all((EXAMPLES / "transcription.yaml").read_text())
        if each["kind"] == "ModelDeployment"
    ]
    assert shown == example


def test_try_it_by_hand(installation: Installation) -> None:
    typed = block("sh", "insource env").splitlines()
    assert typed[0].startswith("make up")
    typed[1] = typed[1].replace(".venv/bin/insource", f"{sys.executable} -m insource")
    script = "set -eu\n" + "\n".join(typed[1:]).replace("kubectl ", f"{KUBECTL} ")

    def shell(text: str) -> str:
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=ROOT,
            env=installation.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "dictation" in shell(script)
    installation.wait_ready("dictation", timeout_s=120)
    said = shell(f"{typed[1]}\n{sys.executable} - <<'PROGRAM'\n{block('python', 'OpenAI')}\nPROGRAM\n")
    assert len(said.split()) > 10


@pytest.mark.parametrize(
    ("vendor", "endpoint"),
    [
        ("openai", "https://api.openai.com/v1"),
        ("azure-speech", "https://replace-me.cognitiveservices.azure.com"),
        ("azure-images", "https://replace-me.services.ai.azure.com"),
    ],
)
def test_the_example_of_a_real_vendor_is_applied(installation: Installation, vendor: str, endpoint: str) -> None:
    installation.kubectl("apply", "-f", str(EXAMPLES / f"vendor-{vendor}.yaml"))

    def serves_the_real_endpoint() -> bool:
        template = installation.get("deployment", f"{vendor}-adapter")["spec"]["template"]["spec"]["containers"][0]
        environment = {each["name"]: each.get("value") for each in template["env"]}
        return environment["INSOURCE_ENDPOINT"] == endpoint

    eventually(serves_the_real_endpoint, timeout_s=90, what="the Vendor's endpoint did not reach its adapter")
    installation.kubectl("wait", "--for=condition=Ready", f"vendor/{vendor}", "--timeout=150s")
