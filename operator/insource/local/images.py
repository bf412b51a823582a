"""Which images the embedded node can run, and as what: it has no container runtime, only programs of this machine.

Pure. Our own image is this very Python; others exist only where the settings name them (tests do).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

OWN_IMAGES = ("insource/insource", "ghcr.io/insource-dev/insource")
ENVIRONMENT = "INSOURCE_LOCAL_IMAGES"
"""Environment variable with extra images: JSON, image -> argv prefix."""


class UnknownImageError(Exception):
    """The image is not one that this node can run; the message says what to do."""


@dataclass(frozen=True)
class ImageTable:
    """Image -> what a container of it runs."""

    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Full image name -> words put before the container's command and arguments."""

    def argv(self, image: str, command: Sequence[str], arguments: Sequence[str]) -> list[str]:
        """The words to execute. Raises `UnknownImageError`."""
        if image in self.extra:
            return [*self.extra[image], *command, *arguments]
        if repository(image) not in OWN_IMAGES:
            raise UnknownImageError(
                f"the embedded cluster's node runs only Insource's own images"
                f' ({", ".join(OWN_IMAGES)}), not "{image}": '
                "use a real Kubernetes cluster for this pod, or name the image in "
                f'{ENVIRONMENT} (JSON, {{"<image>": ["<program>", ...]}}) before starting `insource cluster`'
            )
        words = [*(command or ["insource"]), *arguments]
        if words[0] == "insource":
            return [sys.executable, "-m", "insource", *words[1:]]
        if words[0] in ("python", "python3"):
            return [sys.executable, *words[1:]]
        return words


def repository(image: str) -> str:
    """An image's name without registry default, tag and digest."""
    name = image.partition("@")[0].removeprefix("docker.io/")
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


def parse_extra_images(text: str) -> dict[str, tuple[str, ...]]:
    """The content of `INSOURCE_LOCAL_IMAGES`. Raises ValueError with what is wrong."""
    if not text.strip():
        return {}
    try:
        table = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{ENVIRONMENT} is not JSON: {error}") from error
    if not isinstance(table, dict) or not all(
        isinstance(words, list) and all(isinstance(word, str) for word in words) for words in table.values()
    ):
        raise ValueError(f'{ENVIRONMENT} must be an object of image -> list of words, such as {{"shell": ["/bin/sh"]}}')
    return {image: tuple(words) for image, words in table.items()}
