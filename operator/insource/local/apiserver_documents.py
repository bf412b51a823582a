"""What the API server says of itself: discovery and OpenAPI, with ETags; and the answers every handler gives."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from aiohttp import web

from insource.local import apiserver_answers as answers
from insource.local import apiserver_protobuf as protobuf
from insource.local import discovery, openapi, openapi_v2
from insource.local.apiserver_answers import Form
from insource.local.store_errors import ApiError
from insource.local.store_kinds import Kinds, ResourceKind


def described(request: web.Request, kinds: Kinds) -> web.StreamResponse:
    """The answer to a path that names no resource: a document of discovery or OpenAPI, or 404."""
    parts = request.path.strip("/").split("/")
    served = discovery.groups(kinds)
    if request.method != "GET":
        return no_page()
    if parts in (["api"], ["apis"]):
        chosen = [(pair, listed) for pair, listed in served.items() if (pair[0] == "") == (parts == ["api"])]
        if "apidiscovery.k8s.io" in request.headers.get("Accept", ""):
            return _tagged(request, discovery.aggregated(chosen), discovery.AGGREGATED)
        if parts == ["api"]:
            return as_json({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
        return as_json(discovery.group_list(pair for pair, _ in chosen))
    if parts == ["api", "v1"]:
        return as_json(discovery.resource_list(("", "v1"), served[("", "v1")]))
    if parts[0] == "apis" and len(parts) == 2:
        pair = next((pair for pair in served if pair[0] == parts[1]), None)
        if pair is not None:
            return as_json({"kind": "APIGroup", "apiVersion": "v1", **discovery.group_document(pair)})
    if parts[0] == "apis" and len(parts) == 3 and (parts[1], parts[2]) in served:
        return as_json(discovery.resource_list((parts[1], parts[2]), served[(parts[1], parts[2])]))
    if parts == ["openapi", "v2"]:
        if "protobuf" not in request.headers.get("Accept", ""):
            return _tagged(request, openapi_v2.document_v2(served), "application/json")
        return web.Response(body=_encoded_v2(tuple(kinds)), content_type=openapi_v2.MEDIA)
    if parts == ["openapi", "v3"]:
        return _tagged(request, openapi.index(served), "application/json")
    if parts[:2] == ["openapi", "v3"]:
        pair = ("", "v1") if parts[2:] == ["api", "v1"] else tuple(parts[3:])  # type: ignore[assignment]
        if pair in served:
            return _tagged(request, openapi.document(pair, served[pair]), "application/json")
    return no_page()


@lru_cache(maxsize=4)
def _encoded_v2(kinds: tuple[ResourceKind, ...]) -> bytes:
    return openapi_v2.encoded(openapi_v2.document_v2(discovery.groups(kinds)))


def _tagged(request: web.Request, value: Any, media: str) -> web.Response:
    body = answers.dump(value)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"'
    headers = {"ETag": tag, "Vary": "Accept", "Content-Type": media}
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers={"ETag": tag, "Vary": "Accept"})
    return web.Response(body=body, headers=headers)


def as_json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=answers.dump(value), status=status, content_type="application/json")


def as_form(value: Any, form: Form, status: int = 200) -> web.Response:
    return web.Response(body=answers.dump(value, form), status=status, content_type=form.media)


def refused(request: web.Request, error: ApiError) -> web.Response:
    """A Status, in protobuf for a client that reads nothing else."""
    if answers.is_protobuf_only(request.headers.get("Accept", "")):
        body = protobuf.status(error.message, error.reason, error.code)
        return web.Response(body=body, status=error.code, content_type=answers.PROTOBUF)
    return as_json(error.status(), status=error.code)


def no_page() -> web.Response:
    return web.Response(text="404 page not found\n", status=404)
