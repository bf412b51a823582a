"""The last known world on disk, so that a gateway starts and serves while the API server is away.

Note: it holds client keys, so the file is private (0600); it holds no gateway token.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from insource.gateway.view import ClientKey, DeploymentKey, DeploymentView, GatewayView, Pool
from insource.wire.vocabulary import BackendKind, Role

FORMAT = 1


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` atomically by a file that only this user can read."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    fresh.replace(path)


def deployment_bytes(view: DeploymentView) -> bytes:
    """One deployment as it stands in the file; to be kept by the caller, so that saving does not make all anew."""
    return orjson.dumps(asdict(view))


def save_snapshot(path: Path, deployments: Iterable[bytes], keys: Iterable[ClientKey]) -> None:
    """Keep `deployments` (of `deployment_bytes`) and `keys` for the next start. May run in a thread."""
    head = orjson.dumps({"format": FORMAT, "keys": [asdict(key) for key in keys]})
    write_private(path, head[:-1] + b',"deployments":[' + b",".join(deployments) + b"]}")


def load_snapshot(path: Path) -> GatewayView | None:
    """The view that was saved last; None if there is none, or if this version cannot read it."""
    try:
        document = orjson.loads(path.read_bytes())
        if document["format"] != FORMAT:
            return None
        return GatewayView(
            deployments=tuple(_deployment(each) for each in document["deployments"]),
            keys=tuple(
                ClientKey(**{**each, "namespaces": tuple(each.get("namespaces", ()))}) for each in document["keys"]
            ),
        )
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def _deployment(document: dict[str, Any]) -> DeploymentView:
    pools = {name: tuple(_pool(each) for each in document[name]) for name in ("serve", "rescue", "spill")}
    return DeploymentView(
        **{
            **document,
            **pools,
            "key": DeploymentKey(**document["key"]),
            "clients": tuple(document["clients"]),
            "served_names": tuple(document.get("served_names", ())),
        }
    )


def _pool(document: dict[str, Any]) -> Pool:
    return Pool(
        **{
            **document,
            "kind": BackendKind(document["kind"]),
            "role": Role(document["role"]),
            "addresses": tuple((host, port) for host, port in document["addresses"]),
        }
    )
