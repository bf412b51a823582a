"""Argo CD's health checks as it runs them: the Lua of our page, given the object as `obj`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import lupa.lua51
import yaml

PAGE = Path(__file__).parents[1] / "docs/how-to/gitops.md"
PREFIX = "resource.customizations.health."


@dataclass(frozen=True)
class Health:
    """One of Healthy, Progressing, Degraded; and why."""

    status: str
    message: str


@cache
def health_checks() -> dict[str, str]:
    """The scripts of the page, by `<group>_<kind>`."""
    blocks = [block.partition("```")[0] for block in PAGE.read_text().split("```yaml\n")[1:]]
    documents = [document for block in blocks for document in yaml.safe_load_all(block)]
    (config,) = [each for each in documents if each.get("kind") == "ConfigMap"]
    return {key.removeprefix(PREFIX): script for key, script in config["data"].items() if key.startswith(PREFIX)}


def argo_health(obj: Mapping[str, Any]) -> Health:
    """What Argo CD shows. Its Lua is 5.1, too."""
    group = obj["apiVersion"].partition("/")[0]
    lua = lupa.lua51.LuaRuntime(unpack_returned_tuples=True)
    lua.globals()["obj"] = lua.table_from(obj, recursive=True)
    found = lua.execute(health_checks()[f"{group}_{obj['kind']}"])
    return Health(found["status"], found["message"] or "")
