"""Applies the built-in catalogue at the start: a separate field manager, never over a user's field."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from insource.api.meta import CATALOG_FIELD_MANAGER
from insource.domain.drift import covers
from insource.kube.client import ApiError, Client
from insource.kube.resources import Object, resource_of

_log = structlog.get_logger(__name__)


async def apply_catalogue(client: Client, manifests: Iterable[Object]) -> int:
    """Apply each manifest without force; one that a user has changed is left as it is. Returns how many applied.

    `ApiError` if the API cannot be reached or refuses for another reason than a conflict.
    """
    applied = 0
    for manifest in manifests:
        resource, name = resource_of(manifest), manifest["metadata"]["name"]
        try:
            if await _is_there(client, manifest):
                continue
            await client.apply(resource, manifest, field_manager=CATALOG_FIELD_MANAGER)
        except ApiError as error:
            if error.status != 409:
                raise
            _log.info("catalogue_entry_is_the_users", kind=manifest["kind"], name=name)
        else:
            applied += 1
    return applied


async def _is_there(client: Client, manifest: Object) -> bool:
    try:
        live = await client.get(resource_of(manifest), manifest["metadata"]["name"])
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return covers(manifest, live)
