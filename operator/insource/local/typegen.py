"""`python -m insource.local.typegen [--check]`: writes builtin_types.json, the field names and types of built-in kinds.

They come from the models of the `kubernetes` client that the lock pins, which are generated from the API's own
OpenAPI document. Run by hand after that pin has moved; the embedded cluster only ever reads the file.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from kubernetes.client import models

KINDS = (
    "V1Namespace", "V1Pod", "V1Service", "V1ConfigMap", "V1Secret", "V1ServiceAccount", "CoreV1Event", "V1Node",
    "V1PersistentVolumeClaim", "V1ResourceQuota", "V1LimitRange", "V1Deployment", "V1ReplicaSet",
    "V1ControllerRevision", "V1EndpointSlice", "V1Lease", "EventsV1Event", "V1CustomResourceDefinition",
    "V1Role", "V1ClusterRole", "V1RoleBinding", "V1ClusterRoleBinding",
)  # fmt: skip
"""The models of the kinds in `builtin.builtin_kinds`."""
QUANTITIES = frozenset(
    {
        "limits", "requests", "capacity", "allocatable", "allocatedResources", "hard", "used", "max", "min", "default",
        "defaultRequest", "maxLimitRequestRatio", "sizeLimit", "divisor", "overhead", "quantity",
    }
)  # fmt: skip
"""Fields that hold quantities, which JSON may also spell as numbers; the models call them text."""
_MODEL = re.compile(r"\b[A-Z]\w*V\d\w*\b|\bV\d\w+\b")
PATH = Path(__file__).with_name("builtin_types.json")


def _fields(model: str) -> dict[str, str]:
    described = getattr(models, model)
    found = {}
    for name, declared in described.openapi_types.items():
        key = described.attribute_map[name]
        quantity = key in QUANTITIES and declared in ("str", "Dict[str, str]")
        found[key] = declared.replace("str]", "quantity]").replace(" str", " quantity") if quantity else declared
        if quantity and declared == "str":
            found[key] = "quantity"
    return found


def table() -> dict[str, dict[str, str]]:
    """Model -> JSON field -> type (`str`, `int`, `float`, `bool`, `datetime`, `quantity`, `object`, a model, or a
    `List[...]` or `Dict[str, ...]` of one); `object` is anything."""
    found: dict[str, dict[str, str]] = {}
    waiting = list(KINDS)
    while waiting:
        model = waiting.pop()
        if model not in found:
            found[model] = _fields(model)
            waiting.extend(name for declared in found[model].values() for name in _MODEL.findall(declared))
    return found


def text() -> str:
    lines = [f" {json.dumps(model)}: {json.dumps(fields, sort_keys=True)}" for model, fields in sorted(table().items())]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(arguments: list[str]) -> int:
    """0, or 1 if `--check` finds the file stale."""
    if "--check" in arguments:
        if PATH.exists() and PATH.read_text() == text():
            return 0
        print(f"{PATH} is stale: run `make generate`", file=sys.stderr)
        return 1
    PATH.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
