"""Every object that ships is taken by both API servers, strictly validated, and `insource catalog` reads it back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from insource.api.catalogue import builtin_objects
from insource.api.kinds import BY_KIND
from insource.cli.main import cli
from tests.cluster.kwok import apply_crds
from tests.contract.bad_input.answers import CRDS
from tests.servers import ApiServer

BUILTINS = builtin_objects()


def path_of(obj: dict[str, Any], name: str = "") -> str:
    return f"/apis/insource.dev/v1alpha1/{BY_KIND[obj['kind']].plural}{name and f'/{name}'}"


def test_each_is_taken_with_strict_validation(api: ApiServer) -> None:
    apply_crds(api, CRDS)
    refused = {}
    for obj in BUILTINS:
        answer = api.request("POST", f"{path_of(obj)}?dryRun=All&fieldValidation=Strict", obj)
        if answer.status != 201 or answer.warnings:
            refused[obj["kind"], obj["metadata"]["name"]] = answer.body
    assert refused == {}


@pytest.fixture
def shipped(api: ApiServer) -> Iterator[ApiServer]:
    """An API server that has them all."""
    apply_crds(api, CRDS)
    for obj in BUILTINS:
        api.ok("POST", f"{path_of(obj)}?fieldValidation=Strict", obj)
    yield api
    for obj in BUILTINS:
        api.ok("DELETE", path_of(obj, obj["metadata"]["name"]))


def test_the_catalogue_is_read_from_the_cluster(shipped: ApiServer) -> None:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(cli, ["catalog", *arguments, "--kubeconfig", str(shipped.kubeconfig())])

    listed = run("--json")
    assert listed.exit_code == 0, listed.output
    names = {entry["name"] for entry in json.loads(listed.output)}
    assert names == {obj["metadata"]["name"] for obj in BUILTINS if obj["kind"] == "CatalogModel"}
    shown = run("show", "mai-transcribe-2")
    assert shown.exit_code == 0, shown.output
    assert "0.1 / audio hour" in shown.output
    wrong = run("show", "mai-transcribe-3")
    assert wrong.exit_code == 1
    assert "did you mean mai-transcribe-" in wrong.output
