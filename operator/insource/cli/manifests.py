"""Manifests given to `insource up -f`: read, checked, and applied server-side like kubectl would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml

from insource.cli.seed import NAMESPACE
from insource.kube import resources
from insource.kube.client import ApiError, Client

FIELD_MANAGER = "insource-up-file"
APPLICABLE = {
    (resource.api_version, resource.kind): resource
    for resource in (
        resources.MODEL_DEPLOYMENTS,
        resources.INFERENCE_RUNTIMES,
        resources.ACCELERATOR_CLASSES,
        resources.VENDORS,
        resources.PRICE_BOOKS,
        resources.CATALOG_MODELS,
        resources.NAMESPACES,
        resources.SECRETS,
        resources.CONFIG_MAPS,
        resources.SERVICE_ACCOUNTS,
    )
}


def read_manifests(files: tuple[Path, ...]) -> list[tuple[Path, dict[str, Any]]]:
    """Every object of every file; a ClickException names the file and what is wrong with it."""
    found: list[tuple[Path, dict[str, Any]]] = []
    for file in files:
        try:
            documents = [document for document in yaml.safe_load_all(file.read_text()) if document is not None]
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise click.ClickException(f"{file}: cannot be read as YAML: {error}") from None
        for number, document in enumerate(documents, 1):
            if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
                raise click.ClickException(f"{file}: document {number} has no apiVersion and kind")
            _resource_of(file, document)
            found.append((file, document))
    return found


async def apply_files(client: Client, files: tuple[Path, ...]) -> None:
    """Apply every object, in order; the API server's own message is shown for one that it refuses."""
    for file, document in read_manifests(files):
        resource = _resource_of(file, document)
        if resource.namespaced:
            document.setdefault("metadata", {}).setdefault("namespace", NAMESPACE)
        try:
            await client.apply(resource, document, field_manager=FIELD_MANAGER, force=True)
        except ApiError as error:
            name = document.get("metadata", {}).get("name", "?")
            raise click.ClickException(f"{file}: {document['kind']} {name}: {error}") from None


def _resource_of(file: Path, document: dict[str, Any]) -> resources.Resource:
    resource = APPLICABLE.get((document["apiVersion"], document["kind"]))
    if resource is None:
        raise click.ClickException(
            f"{file}: {document['apiVersion']} {document['kind']} is not a kind that `up -f` applies: use kubectl"
        )
    return resource
