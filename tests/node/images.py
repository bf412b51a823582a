"""The product's images, built from the repository's Dockerfile by buildah, without a daemon or a registry."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.node.packages import RELEASE, Tools, call, locked, mirror
from tests.node.places import REGISTRY, NodeError, Places

ROOT = Path(__file__).parents[2]
TARGETS = ("insource", "gateway", "servers")
LOCKS = ("base", "servers", "gateway", "build")
"""Of `requirements`, what the images are made of: an edit of another one makes no new image."""
BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
_SAME = ("--layers", "--timestamp", "0", "--identity-label=false")
"""One time for all files, and nothing of the builder: what an image is made of decides its bits."""
_BASE_DOCKERFILE = """\
FROM scratch
COPY root/ /
RUN python3 -m venv /usr/local
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
"""
"""With the environment at /usr/local, `python` and `pip` are where the official python:3.11-slim has them."""
_NEEDLESS = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/lib/apt/lists", "var/log")


@dataclass(frozen=True)
class Builder:
    """buildah with a store of its own."""

    tools: Tools
    places: Places

    @property
    def store(self) -> Path:
        return self.places.state / "buildah"

    def command(self, *words: str | Path) -> list[str | Path]:
        policy = self.tools.root / "etc/containers/policy.json"
        own = ["--root", self.store, "--runroot", self.places.state / "buildah-run", "--storage-driver", "overlay"]
        head = [self.tools.path("buildah"), *own]
        # Only the commands that copy images know the policy's flag.
        if words[0] in ("bud", "push", "pull", "from"):
            return self.tools.with_libraries(*head, words[0], "--signature-policy", policy, *words[1:])
        return self.tools.with_libraries(*head, *words)

    def run(self, *words: str | Path, what: str = "") -> str:
        return call(self.command(*words), what, env=self.environment())

    def environment(self) -> dict[str, str]:
        return {**self.tools.environment(), "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(self.places.state)}

    def has(self, image: str) -> bool:
        done = subprocess.run(
            [str(word) for word in self.command("inspect", "--type", "image", image)],
            env=self.environment(), capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode == 0


def base_image(builder: Builder, console: Console) -> str:
    """Debian with Python, what python:3.11-slim-bookworm is, made from Debian's packages once (three minutes)."""
    key = hashlib.sha256("\0".join((RELEASE, *BASE_PACKAGES, _BASE_DOCKERFILE)).encode()).hexdigest()[:12]
    name = f"localhost/insource-base:{key}"
    builder.places.state.mkdir(parents=True, exist_ok=True)
    with locked(builder.places.state / "base.lock"):
        if builder.has(name):
            return name
        console.print("insource: making the base image from Debian's packages (once, three minutes)")
        scratch = Path(tempfile.mkdtemp(prefix="base-", dir=builder.places.state))
        try:
            root = scratch / "root"
            include = f"--include={','.join(BASE_PACKAGES)}"
            bootstrap = builder.tools.path("debootstrap")
            builder.tools.run(bootstrap, "--variant=minbase", include, RELEASE, root, mirror(), what="debootstrap")
            for folder in _NEEDLESS:
                shutil.rmtree(root / folder, ignore_errors=True)
            (scratch / "Dockerfile").write_text(_BASE_DOCKERFILE)
            builder.run("bud", "--network=host", "-t", name, scratch, what="the base image")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return name


def inputs(folder: Path) -> list[Path]:
    """Every file that the images are made of: what the Dockerfile copies, itself, and what it leaves out."""
    named = (
        "Dockerfile",
        ".dockerignore",
        "pyproject.toml",
        "LICENSE",
        *(f"requirements/{each}.txt" for each in LOCKS),
    )
    code = (path for path in (folder / "operator").rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sorted([*(folder / name for name in named), *code])


def tag_of(folder: Path) -> str:
    """What the images are made of, as a tag: the same sources are not built, nor rolled out, again."""
    digest = hashlib.sha256(" ".join(_SAME).encode())
    for path in inputs(folder):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return f"dev-{digest.hexdigest()[:12]}"


def build(builder: Builder, console: Console, folder: Path = ROOT) -> list[str]:
    """The product's images, by name. Only what has changed is built anew. Raises NodeError."""
    if not (folder / "Dockerfile").is_file():
        raise NodeError(f"{folder} has no Dockerfile: run this in a checkout of the repository")
    base = base_image(builder, console)
    tag = tag_of(folder)
    names = []
    with locked(builder.places.state / "images.lock"):
        for target in TARGETS:
            name = f"{REGISTRY}/insource/{target}:{tag}"
            names.append(name)
            if builder.has(name):
                continue
            console.print(f"insource: building the image {target} (minutes at first, seconds after an edit)")
            build_target(builder, target, name, base, tag, folder)
    return names


def build_target(builder: Builder, target: str, name: str, base: str, revision: str, folder: Path) -> None:
    """One image. Its bits depend on the base, the inputs and the revision only: no file has a time of the build."""
    arguments = ["--build-arg", f"BASE={base}", *_SAME, "--target", target, "-t", name]
    # buildah's cache knows a label by its words before they are expanded, and would keep the last revision's.
    text = (folder / "Dockerfile").read_text().replace("${REVISION}", revision)
    with tempfile.NamedTemporaryFile("w", prefix="Dockerfile-", dir=builder.places.state) as file:
        file.write(text)
        file.flush()
        words = ["--network=host", "-f", file.name, *arguments, *_trust()]
        builder.run("bud", *words, folder, what=f"the image {target}")


def _trust() -> list[str]:
    """The machine's certificate authorities, during the build only: pip asks the index that this machine asks."""
    bundle = Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
    return ["-v", f"{bundle}:/etc/ssl/certs/ca-certificates.crt:ro"] if bundle.is_file() else []


def archive(builder: Builder, names: list[str], present: set[str], folder: Path) -> Path:
    """An OCI archive that `ctr images import` reads: of these images what is not `present`, by digest.

    All of them have the base and the dependencies in common, and an edit changes the last layer only.
    """
    layout = builder.places.state / "layout"
    manifests, needed = [], set()
    for name in names:
        # Without compression a layer has the digest that it is known by, and is not written again.
        builder.run("push", "--disable-compression", name, f"oci:{layout}:{name}", what=f"writing {name}")
    for entry in json.loads((layout / "index.json").read_text())["manifests"]:
        # What an earlier call has kept has containerd's name only.
        name = entry["annotations"].get("org.opencontainers.image.ref.name")
        if name in names:
            manifests.append({**entry, "annotations": {"io.containerd.image.name": name}})
            manifest = json.loads(_blob(layout, entry["digest"]).read_text())
            needed |= {entry["digest"], manifest["config"]["digest"], *(each["digest"] for each in manifest["layers"])}
    _forget(layout, manifests, needed)
    path = folder / "images.tar"
    with tarfile.open(path, "w") as tar:
        for part in ("oci-layout", "index.json", *(_blob(layout, each) for each in sorted(needed - present))):
            tar.add(layout / part, str((layout / part).relative_to(layout)))
    return path


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _forget(layout: Path, manifests: list[dict[str, Any]], needed: set[str]) -> None:
    """Keeps these images only: else the folder would grow with each edit."""
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    for blob in (layout / "blobs/sha256").iterdir():
        if f"sha256:{blob.name}" not in needed:
            blob.unlink()
