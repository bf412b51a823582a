"""What all our objects have in common: labels, owner, and the digest by which a restart knows its own work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from insource.api import meta
from insource.api.kinds import Resource
from insource.domain.names import digest
from insource.domain.snapshot import Manifest


def owner_reference(owner: Resource[Any]) -> dict[str, Any]:
    """The controlling owner, by which garbage collection removes the object."""
    return {
        "apiVersion": meta.API_VERSION,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def manifest(
    api_version: str,
    kind: str,
    *,
    name: str,
    namespace: str,
    labels: Mapping[str, str],
    owner: Resource[Any] | None,
    body: Mapping[str, Any],
) -> Manifest:
    """An object as we apply it; `body` is what stands beside its metadata."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "labels": {meta.LABEL_MANAGED_BY: meta.MANAGED_BY, **labels},
    }
    if owner is not None:
        metadata["ownerReferences"] = [owner_reference(owner)]
    result: Manifest = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}
    metadata["annotations"] = {meta.ANNOTATION_APPLIED: digest(result, 20)}
    return result
