"""`python -m tests.cluster.kubernetes_types`: what the embedded API server knows of Kubernetes' own types.

From what `build/kubernetes` pins, which the cluster's build has fetched and built, it writes two files of
`insource.local`:

* builtin_types.json: every field of the kinds that are served, with its Go type, its number in protobuf, whether Go
  writes it when it is empty. From the struct tags of `types.go`.
* builtin_openapi.json: the same types as OpenAPI v3 schemas, word for word. From a running kube-apiserver.

Run by hand after that pin has moved; `test_kubernetes_types.py` says when that was forgotten. The embedded cluster only
ever reads the files.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tests.cluster.binaries import KUBERNETES, binaries, go_module_folder
from tests.cluster.control_plane import control_plane
from tests.servers import ApiServer, real_server

LOCAL = Path(__file__).parents[2] / "operator" / "insource" / "local"
TYPES, OPENAPI = LOCAL / "builtin_types.json", LOCAL / "builtin_openapi.json"
PACKAGES = {
    "core": ("k8s.io/api", "core/v1", "io.k8s.api.core.v1", ""),
    "apps": ("k8s.io/api", "apps/v1", "io.k8s.api.apps.v1", "apps"),
    "rbac": ("k8s.io/api", "rbac/v1", "io.k8s.api.rbac.v1", "rbac.authorization.k8s.io"),
    "coordination": ("k8s.io/api", "coordination/v1", "io.k8s.api.coordination.v1", "coordination.k8s.io"),
    "discovery": ("k8s.io/api", "discovery/v1", "io.k8s.api.discovery.v1", "discovery.k8s.io"),
    "events": ("k8s.io/api", "events/v1", "io.k8s.api.events.v1", "events.k8s.io"),
    "authentication": ("k8s.io/api", "authentication/v1", "io.k8s.api.authentication.v1", "authentication.k8s.io"),
    "authorization": ("k8s.io/api", "authorization/v1", "io.k8s.api.authorization.v1", "authorization.k8s.io"),
    "autoscaling": ("k8s.io/api", "autoscaling/v1", "io.k8s.api.autoscaling.v1", "autoscaling"),
    "meta": ("k8s.io/apimachinery", "pkg/apis/meta/v1", "io.k8s.apimachinery.pkg.apis.meta.v1", "meta.k8s.io"),
    "apiextensions": (
        "k8s.io/apiextensions-apiserver",
        "pkg/apis/apiextensions/v1",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
        "apiextensions.k8s.io",
    ),
}
"""Short name -> (Go module, folder in it, prefix of its OpenAPI schemas, API group)."""
KINDS = {
    "core": (
        "Namespace", "Pod", "Service", "ConfigMap", "Secret", "ServiceAccount", "Event", "Node",
        "PersistentVolumeClaim", "ResourceQuota", "LimitRange",
    ),
    "apps": ("Deployment", "ReplicaSet", "ControllerRevision"),
    "rbac": ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"),
    "coordination": ("Lease",),
    "discovery": ("EndpointSlice",),
    "events": ("Event",),
    "authentication": ("TokenReview", "SelfSubjectReview", "TokenRequest"),
    "authorization": (
        "SubjectAccessReview", "LocalSubjectAccessReview", "SelfSubjectAccessReview", "SelfSubjectRulesReview",
    ),
    "autoscaling": ("Scale",),
    "apiextensions": ("CustomResourceDefinition",),
    "meta": ("DeleteOptions",),
}  # fmt: skip
"""What the embedded API server serves, or reads as a body."""
SPECIAL = {
    "meta.Time": "Time",
    "meta.MicroTime": "MicroTime",
    "meta.FieldsV1": "any",
    "resource.Quantity": "Quantity",
    "intstr.IntOrString": "IntOrString",
    "runtime.RawExtension": "any",
    "apiextensions.JSON": "any",
    "apiextensions.JSONSchemaPropsOrArray": "any",
    "apiextensions.JSONSchemaPropsOrBool": "any",
    "apiextensions.JSONSchemaPropsOrStringArray": "any",
    "types.UID": "string",
}
"""Types that write themselves."""
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_EMPTY = re.compile(r"^type (\w+) struct ?\{\}", re.MULTILINE)
_NAMED = re.compile(r"^type (\w+) =? ?([\w.\[\]*]+)(?:\n|$)", re.MULTILINE)
_FIELD = re.compile(r"^\s*(?:(\w+)\s+)?([\w.*\[\]]+)\s+`(.*)`", re.MULTILINE)
_TAG = re.compile(r'(\w+):"([^"]*)"')
_IMPORT = re.compile(r'^\s*(?:(\w+) )?"(k8s\.io/[\w./-]+)"', re.MULTILINE)
_SCALARS = ("string", "bool", "byte", "int", "int32", "int64", "float64", "any")


@cache
def _package(name: str) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """(struct -> body, other named type -> what it is, alias in the file -> package)."""
    module, folder, _, _ = PACKAGES[name]
    structs: dict[str, str] = {}
    named: dict[str, str] = {}
    aliases: dict[str, str] = {}
    for path in sorted((go_module_folder(KUBERNETES, module) / folder).glob("types*.go")):
        if "generated" in path.name or path.name.endswith("_test.go"):
            continue
        text = path.read_text()
        structs |= dict(_STRUCT.findall(text)) | dict.fromkeys(_EMPTY.findall(text), "")
        named |= dict(_NAMED.findall(text))
        for alias, imported in _IMPORT.findall(text):
            known = [key for key, (m, f, _, _) in PACKAGES.items() if imported == f"{m}/{f}"]
            aliases[alias or imported.rpartition("/")[2]] = known[0] if known else imported.rpartition("/")[2]
    return structs, named, aliases


def _resolved(declared: str, package: str) -> str:
    """A Go type as it stands in a file, with packages by their short names and named types looked through."""
    for prefix in ("*", "[]"):
        if declared.startswith(prefix):
            return prefix + _resolved(declared.removeprefix(prefix), package)
    if declared.startswith("map["):
        key, _, value = declared[4:].partition("]")
        return f"map[{_resolved(key, package)}]{_resolved(value, package)}"
    if declared in _SCALARS:
        return declared
    structs, named, aliases = _package(package)
    alias, dot, name = declared.rpartition(".")
    qualified = f"{aliases[alias]}.{name}" if dot else f"{package}.{name}"
    if qualified in SPECIAL:
        return SPECIAL[qualified]
    if dot:
        return _resolved(name, aliases[alias])
    if declared in structs:
        return qualified
    return _resolved(named[declared], package)


def _as_go_says(declared: str, package: str) -> str:
    """A type as Go names it in an error: `v1.PullPolicy`, `[]v1.Container`."""
    if declared.startswith("*"):
        return _as_go_says(declared.removeprefix("*"), package)
    if declared.startswith("[]"):
        return "[]" + _as_go_says(declared.removeprefix("[]"), package)
    if declared.startswith("map["):
        key, _, value = declared[4:].partition("]")
        return f"map[{_as_go_says(key, package)}]{_as_go_says(value, package)}"
    if declared in _SCALARS:
        return {"byte": "uint8"}.get(declared, declared)
    alias, dot, name = declared.rpartition(".")
    if dot and _package(package)[2][alias] not in PACKAGES:
        return declared
    return f"v1.{name}"


def _fields(qualified: str) -> dict[str, dict[str, Any]]:
    """JSON name -> what there is to know of a struct's field. An inlined struct goes by `+` and its Go name."""
    package, _, name = qualified.partition(".")
    found: dict[str, dict[str, Any]] = {}
    for go_name, declared, raw in _FIELD.findall(_package(package)[0][name]):
        tags = dict(_TAG.findall(raw))
        json_name, *options = tags.get("json", "").split(",")
        if declared.endswith("TypeMeta") or json_name == "-":
            continue
        field: dict[str, Any] = {"type": _resolved(declared, package), "said": _as_go_says(declared, package)}
        if field["said"] == field["type"].lstrip("*"):
            del field["said"]
        protobuf = tags.get("protobuf", "").split(",")
        if len(protobuf) > 1:
            field["number"] = int(protobuf[1])
        if "omitempty" in options:
            field["omitempty"] = True
        if "omitzero" in options:
            field["omitzero"] = True
        found[json_name or f"+{go_name or declared.rpartition('.')[2]}"] = field
    return found


def _structs_in(declared: str) -> str:
    return declared.rpartition("]")[2].lstrip("*")


def types() -> dict[str, Any]:
    """`structs`: name -> fields; `kinds`: `group/Kind` -> struct."""
    kinds = {f"{PACKAGES[package][3]}/{kind}": f"{package}.{kind}" for package, all_ in KINDS.items() for kind in all_}
    structs: dict[str, Any] = {}
    waiting = list(kinds.values())
    while waiting:
        name = waiting.pop()
        if name in structs:
            continue
        structs[name] = _fields(name)
        waiting += [each for each in (_structs_in(field["type"]) for field in structs[name].values()) if "." in each]
    return {"kinds": kinds, "structs": structs}


def schemas(api: ApiServer) -> dict[str, Any]:
    """OpenAPI schema name -> schema, of every kind and all that it uses."""
    known: dict[str, Any] = {}
    for document in api.ok("GET", "/openapi/v3")["paths"].values():
        known |= api.ok("GET", document["serverRelativeURL"]).get("components", {}).get("schemas", {})
    found: dict[str, Any] = {}
    served = ((package, kind) for package, kinds in KINDS.items() if package != "meta" for kind in kinds)
    waiting = [f"{PACKAGES[package][2]}.{kind}" for package, kind in served]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = known[name]
            waiting += _references(known[name])
    return found


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inside in value.items():
            if name == "$ref" and isinstance(inside, str):
                yield inside.rpartition("/")[2]
            else:
                yield from _references(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _references(inside)


def _lines(table: dict[str, Any]) -> str:
    # What is inside stays in its order: Go writes a struct's fields as they are declared.
    lines = [f"{json.dumps(name)}: {json.dumps(table[name])}" for name in sorted(table)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def texts(api: ApiServer) -> dict[Path, str]:
    """What each file should hold."""
    said = types()
    kinds = json.dumps(said["kinds"], sort_keys=True)
    both = f'{{"kinds": {kinds},\n"structs": {_lines(said["structs"]).rstrip()}}}\n'
    return {TYPES: both, OPENAPI: _lines(schemas(api))}


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as folder,
        control_plane(Path(folder), binaries()) as plane,
        real_server(plane) as server,
    ):
        for path, text in texts(server).items():
            path.write_text(text)
