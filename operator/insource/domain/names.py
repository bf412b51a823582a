"""Names of what we create, and hashes of what they stand for. Names are DNS labels: at most 63 characters."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

LONGEST = 63
_HASH_LENGTH = 10
_CUT_LENGTH = 8


def digest(content: Any, length: int = _HASH_LENGTH) -> str:
    """A short name for JSON content, in hexadecimal; equal content, equal name, whatever the order of keys."""
    return _hex(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), length)


def revision_hash(namespace: str, mdep: str, backend: str, serving: Any) -> str:
    """The revision of a backend: a hash of all that decides how it serves, and of whose backend it is."""
    return digest([namespace, mdep, backend, serving])


def workload_name(mdep: str, backend: str, class_: str, revision: str) -> str:
    """`<mdep>-<backend>-<class>-<revision>`, the name of a revision's ReplicaSet, Service and ControllerRevision.

    A longer one is cut, and a hash of the whole takes the place of what is lost.
    """
    return _fitted(f"{mdep}-{backend}-{class_}".replace(".", "-"), f"{mdep}/{backend}/{class_}", f"-{revision}")


def vendor_adapter_name(vendor: str) -> str:
    """`<vendor>-adapter`, the name of a Vendor's Deployment, Service and ConfigMap."""
    return _fitted(vendor, vendor, "-adapter")


def _fitted(head: str, identity: str, tail: str) -> str:
    if len(head) + len(tail) <= LONGEST:
        return head + tail
    mark = _hex(identity.encode(), _CUT_LENGTH)
    return f"{head[: LONGEST - len(tail) - len(mark) - 1].rstrip('-')}-{mark}{tail}"


def _hex(content: bytes, length: int) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()[:length]
