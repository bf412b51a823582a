"""The key filter's configuration: which API keys exist. Who may call what is in each deployment's routes."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3 import extension_pb2
from envoy.extensions.filters.http.api_key_auth.v3 import api_key_auth_pb2

from insource.gateway.render import names
from insource.gateway.view import ClientKey
from insource.wire import headers


def render_keys(keys: Iterable[ClientKey]) -> extension_pb2.TypedExtensionConfig:
    """The list of keys, which must be free of duplicates (Envoy refuses the whole list otherwise).

    An empty list is sent too: it answers 401 to all, while a missing resource answers 500.
    """
    auth = api_key_auth_pb2.ApiKeyAuth()
    for accepted in sorted(keys, key=lambda each: (each.client, each.key)):
        auth.credentials.add(key=accepted.key, client=accepted.client)
    auth.key_sources.add(header="Authorization")
    auth.forwarding.header = headers.CLIENT
    auth.forwarding.hide_credentials = True
    extension = extension_pb2.TypedExtensionConfig(name=names.KEY_FILTER)
    extension.typed_config.Pack(auth, deterministic=True)
    return extension
