"""The product's images, built from the repository's Dockerfile by buildah, without a daemon or a registry."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.node.packages import RELEASE, Tools, call, locked, mirror
from tests.node.places import REGISTRY, NodeError, Places

ROOT = Path(__file__).parents[2]
TARGETS = ("insource", "gateway", "servers")
BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
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


def tag_of(folder: Path) -> str:
    """What the images are made of, as a tag: the same sources are not built, nor rolled out, again."""
    names = ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE")
    found = [folder / name for name in names]
    for part in ("requirements", "operator"):
        found += (path for path in (folder / part).rglob("*") if path.is_file() and path.suffix != ".pyc")
    digest = hashlib.sha256()
    for path in sorted(found):
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
            words = ["--layers", "--network=host", "--build-arg", f"BASE={base}", "--build-arg", f"REVISION={tag}"]
            builder.run("bud", *words, *_trust(), "--target", target, "-t", name, folder, what=f"the image {target}")
    return names


def _trust() -> list[str]:
    """The machine's certificate authorities, during the build only: pip asks the index that this machine asks."""
    bundle = Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
    return ["-v", f"{bundle}:/etc/ssl/certs/ca-certificates.crt:ro"] if bundle.is_file() else []


def archive(builder: Builder, name: str, folder: Path) -> Path:
    """A file that `ctr images import` and `kind load image-archive` read."""
    path = folder / f"{name.rpartition('/')[2].replace(':', '-')}.tar"
    builder.run("push", name, f"docker-archive:{path}:{name}", what=f"writing {name}")
    return path
