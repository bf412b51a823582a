"""The ServiceAccount per namespace that every adapter runs as; the ledger knows a record's namespace by it."""

from __future__ import annotations

from insource.api import meta
from insource.domain.build.objects import manifest
from insource.domain.snapshot import Manifest


def build_service_account(namespace: str) -> Manifest:
    """It has no rights in the API and mounts no token by itself."""
    return manifest(
        "v1",
        "ServiceAccount",
        name=meta.ADAPTER_SERVICE_ACCOUNT,
        namespace=namespace,
        labels={},
        owner=None,
        body={"automountServiceAccountToken": False},
    )
