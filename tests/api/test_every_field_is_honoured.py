"""No field of the API that nobody honours: each is read by the product, shown by kubectl, or listed here with a reason.

Coarse on purpose: a name counts as read wherever an attribute or a key of that name is. It finds the field that was
added to a kind and then forgotten, not one that is read and misunderstood.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, Field

from insource.api.fields import Spec
from insource.api.kinds import KINDS

PRODUCT = Path(__file__).resolve().parents[2] / "operator" / "insource"
EXCUSED = {
    "ModelDeployment.spec.backends.inHouse.pod": "rendered whole into the pod, whatever is in it (model_dump)",
    "AcceleratorClass.spec.tolerations": "rendered whole into the pod, whatever is in it (model_dump)",
}
"""Paths below which fields need no reader of their own, and why."""


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from models_in(argument)


def fields_of(model: type[BaseModel], path: str, seen: set[type[BaseModel]]) -> Iterator[tuple[str, str, str]]:
    """`(path, name in Python, name in YAML)` of each field, those of nested models included."""
    if model in seen:
        return
    seen.add(model)
    for name, info in model.model_fields.items():
        alias = info.alias or name
        yield f"{path}.{alias}", name, alias
        for nested in models_in(info.annotation):
            yield from fields_of(nested, f"{path}.{alias}", seen)


def names_read(source: str) -> set[str]:
    """Attributes that are read, and texts that are used as keys: subscripts and `get`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            names.add(node.attr)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            if isinstance(node.ctx, ast.Load):
                names.add(str(node.slice.value))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop"):
            names.update(str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant))
    return names


def names_written(source: str) -> set[str]:
    """Keys of dicts that are built, and keys that are set: how a status comes about."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):
            names.update(str(key.value) for key in node.keys if isinstance(key, ast.Constant))
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            names.update({str(node.slice.value)} if isinstance(node.slice, ast.Constant) else ())
    return names


def product() -> list[str]:
    """The source of everything but the API's own models and the embedded cluster, which knows no kind of ours."""
    return [
        path.read_text()
        for path in sorted(PRODUCT.rglob("*.py"))
        if not path.is_relative_to(PRODUCT / "api") and not path.is_relative_to(PRODUCT / "local")
    ]


@cache
def read_by_product() -> frozenset[str]:
    """Every name that somebody reads."""
    return frozenset().union(*map(names_read, product()))


@cache
def written_by_product() -> frozenset[str]:
    """Every key that somebody writes; conditions are rendered in the API's own package."""
    sources = [*product(), (PRODUCT / "api" / "conditions.py").read_text()]
    return frozenset().union(*map(names_written, sources))


def excused(path: str) -> bool:
    """Whether a path is below one that has an excuse."""
    return any(path.startswith(f"{above}.") for above in EXCUSED)


def columns() -> set[str]:
    """Last parts of the paths that `kubectl get` shows."""
    paths = (column.path for kind in KINDS for column in kind.columns)
    return {path.rpartition(".")[2] for path in paths}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_field_of_a_spec_has_a_reader(kind: Any) -> None:
    read = read_by_product() | columns()
    idle = [
        path
        for path, name, alias in fields_of(kind.spec, f"{kind.kind}.spec", set())
        if not {name, alias} & read and not excused(path)
    ]
    assert idle == [], "fields that nobody honours: read them, or take them out of the kind"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_field_of_a_status_has_a_writer(kind: Any) -> None:
    written = written_by_product()
    idle = [
        path
        for path, _, alias in fields_of(kind.status, f"{kind.kind}.status", set())
        if alias not in written and not excused(path)
    ]
    assert idle == [], "fields that nobody ever fills: write them, or take them out of the kind"


def test_every_excuse_is_about_a_field_that_there_is() -> None:
    paths = {
        path
        for kind in KINDS
        for part, model in (("spec", kind.spec), ("status", kind.status))
        for path, _, _ in fields_of(model, f"{kind.kind}.{part}", set())
    }
    assert EXCUSED.keys() <= paths


def test_a_field_that_nobody_reads_is_found() -> None:
    class Inner(Spec):
        forgotten_by_all: int = 0

    class Outer(Spec):
        inner: tuple[Inner, ...] | None = Field(default=None)

    found = list(fields_of(Outer, "Kind.spec", set()))
    assert ("Kind.spec.inner.forgottenByAll", "forgotten_by_all", "forgottenByAll") in found
    assert not {"forgotten_by_all", "forgottenByAll"} & read_by_product()
