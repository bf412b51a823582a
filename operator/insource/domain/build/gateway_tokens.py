"""The ConfigMap per namespace with the digests of the gateway tokens that adapters accept."""

from __future__ import annotations

from collections.abc import Iterable

from insource.api import meta
from insource.domain.build.objects import manifest
from insource.domain.snapshot import Manifest


def build_gateway_tokens(namespace: str, digests: Iterable[str]) -> Manifest:
    """One digest a line; two while the master is being rotated."""
    return manifest(
        "v1",
        "ConfigMap",
        name=meta.GATEWAY_TOKENS_CONFIG_MAP,
        namespace=namespace,
        labels={},
        owner=None,
        body={"data": {"sha256": "".join(f"{line}\n" for line in digests)}},
    )
