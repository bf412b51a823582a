"""The real helm, as a person runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from insource.api.meta import SYSTEM_NAMESPACE

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "insource"
VALUES = Path(__file__).parent / "values"
HELM = Path(sys.executable).with_name("helm")
KUBECTL = Path(sys.executable).with_name("kubectl")
RELEASE = "insource"
_MASTER = re.compile(r"(?m)^(  master: )[A-Za-z0-9+/=]+$")
Object = dict[str, Any]


def helm(*arguments: str | Path, home: Path, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    """One command; its caches and settings are in `home`. It sees no cluster but the one of `kubeconfig`."""
    places = {f"HELM_{kind}_HOME": str(home / kind) for kind in ("CACHE", "CONFIG", "DATA")}
    return subprocess.run(
        [HELM, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": str(kubeconfig or home / "none"), **places},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def template(home: Path, *flags: str | Path, namespace: str = SYSTEM_NAMESPACE) -> subprocess.CompletedProcess[str]:
    """`helm template` of our chart."""
    return helm("template", RELEASE, CHART, "--namespace", namespace, *flags, home=home)


def rendered(home: Path, *flags: str | Path) -> str:
    """What is rendered, sorted by nothing but helm, without the CRDs and with a master of no secret."""
    done = template(home, *flags)
    assert done.returncode == 0, done.stderr
    parts = [part for part in done.stdout.split("---\n") if "kind: CustomResourceDefinition" not in part]
    return _MASTER.sub(r"\1bWFzdGVy", "---\n".join(parts))


def objects(text: str) -> list[Object]:
    return [each for each in yaml.safe_load_all(text) if each]


def find(found: list[Object], kind: str, name: str) -> Object:
    (one,) = [each for each in found if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return one


def containers(obj: Object) -> list[Object]:
    """Of a Pod or a workload; those that start first, too."""
    spec = obj["spec"] if obj["kind"] == "Pod" else obj["spec"]["template"]["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]
