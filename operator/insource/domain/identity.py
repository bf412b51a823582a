"""The gateway's proof to a namespace's adapters: a token derived from a master, and the digest that adapters know.

The master never leaves gateway and operator; a token leaves the gateway only towards adapters of its namespace.
"""

from __future__ import annotations

import hashlib
import hmac


def gateway_token(master: bytes, namespace: str) -> str:
    """The token of `x-insource-gateway-token`: hex HMAC-SHA256 of the namespace under the master."""
    return hmac.new(master, namespace.encode(), hashlib.sha256).hexdigest()


def token_digest(token: str) -> str:
    """The line of ConfigMap `insource-gateway-tokens` that makes an adapter accept the token: hex SHA-256."""
    return hashlib.sha256(token.encode()).hexdigest()
