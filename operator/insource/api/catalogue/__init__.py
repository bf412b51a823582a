"""The built-in catalogue: models, runtimes, accelerator classes and prices that ship with the product, as YAML.

The operator applies them at start (field manager `meta.CATALOG_FIELD_MANAGER`), never over a user's field.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml

from insource import __version__

OWN_IMAGE = "insource/insource"
_FILES = ("runtimes.yaml", "accelerator_classes.yaml", "models.yaml", "prices.yaml")
_PLACEHOLDER = "${VERSION}"


def builtin_objects(servers_image: str = f"{OWN_IMAGE}:{__version__}") -> list[dict[str, Any]]:
    """All built-in objects as plain dicts, fresh on every call; what is referred to comes first.

    `servers_image` is the image of ours in which the CPU model servers are.
    """
    here = files(__package__)
    objects: list[dict[str, Any]] = []
    for name in _FILES:
        text = (here / name).read_text(encoding="utf-8").replace(f"{OWN_IMAGE}:{_PLACEHOLDER}", servers_image)
        objects += [item for item in yaml.safe_load_all(text) if item is not None]
    return objects
