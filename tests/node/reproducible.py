"""`make image-reproducible`: the images built a second time from nothing elsewhere, and compared bit by bit.

The second build has another checkout folder, other times, other permissions and a builder's store of its own; the base
image and the revision label are the same. A configuration names each layer by the digest of its content, so that its
own digest stands for all bits of an image.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.node.images import ROOT, TARGETS, Builder, base_image, build, build_target, inputs, tag_of
from tests.node.packages import tools
from tests.node.places import Places

_OTHER_TIME = 1_000_000_000
_ROOM_BYTES = 8 * 1024**3


@dataclass(frozen=True)
class Bits:
    """What an image is: the digest of its configuration, and its layers' digests from the base up.

    Not its manifest: that depends on how whoever stores it compresses, and names the base's by the same accident.
    """

    id: str
    layers: tuple[str, ...]


def bits(builder: Builder, name: str) -> Bits:
    found = json.loads(builder.run("inspect", "--type", "image", name))
    layers = json.loads(found["Config"])["rootfs"]["diff_ids"]
    return Bits(found["FromImageID"], tuple(layers))


def twice(console: Console) -> dict[str, tuple[Bits, Bits]]:
    """Target -> what the first build has made (from the cache if it is there), and the second. Raises NodeError."""
    first = Builder(tools(console), Places())
    names = build(first, console)
    base, tag = base_image(first, console), tag_of(ROOT)
    scratch = Path(tempfile.mkdtemp(prefix="second-", dir=_room(first.places)))
    second = Builder(first.tools, Places(run=scratch / "run", state=scratch / "state"))
    second.places.state.mkdir()
    found = {}
    try:
        folder = copied(ROOT, scratch / "elsewhere/checkout")
        first.run("push", "--disable-compression", base, f"oci:{scratch}/base:{base}")
        second.run("pull", f"oci:{scratch}/base:{base}")
        second.run("tag", second.run("images", "--quiet").split()[0], base)
        for target, name in zip(TARGETS, names, strict=True):
            console.print(f"insource: building the image {target} again, from nothing (minutes)")
            build_target(second, target, name, base, tag, folder)
            found[target] = (bits(first, name), bits(second, name))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return found


def _room(places: Places) -> Path:
    """In memory if there is plenty: where a disk discards what is deleted, removing a builder's store takes minutes."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > _ROOM_BYTES else places.state


def copied(source: Path, target: Path) -> Path:
    """Its inputs in another folder, as somebody else may have them: other times, and nobody else may read them."""
    for path in inputs(source):
        other = target / path.relative_to(source)
        other.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, other)
        other.chmod(0o600)
        os.utime(other, (_OTHER_TIME, _OTHER_TIME))
    return target


def main(console: Console) -> int:
    """Prints both; 1 if a bit differs."""
    differs = False
    for target, (one, other) in twice(console).items():
        same = one == other
        differs |= not same
        print(f"{target}: {'the same' if same else 'DIFFERENT'}")
        print(f"  image {'=' if one.id == other.id else '!'}  sha256:{one.id}  sha256:{other.id}")
        for a, b in zip(one.layers, other.layers, strict=False):
            print(f"  layer {'=' if a == b else '!'}  {a}  {b}")
    return int(differs)
