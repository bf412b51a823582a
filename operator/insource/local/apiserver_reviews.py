"""Who somebody is and what they may do: kinds that are created, answered and never stored."""

from __future__ import annotations

from aiohttp import web

from insource.local import apiserver_requests as requests
from insource.local import discovery
from insource.local.apiserver_documents import as_json
from insource.local.apiserver_requests import Target
from insource.local.auth import Tokens, User
from insource.local.store_errors import Object, unsupported

STATELESS = ("tokenreviews", "selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews")


async def review(request: web.Request, target: Target, user: User, tokens: Tokens) -> web.StreamResponse:
    """The answer to a TokenReview, SelfSubjectReview and their like, which are made and never stored."""
    if request.method != "POST":
        raise unsupported(f"the method {request.method} on {target.plural}")
    body = requests.read_body(await request.read(), request.headers.get("Content-Type", ""), "Ignore", "Review")
    spec = (body.get("spec") if isinstance(body, dict) else None) or {}
    if target.plural == "tokenreviews":
        return as_json(tokens.review(spec), status=201)
    version = f"{target.group}/{target.version}"
    answer: Object = {
        "apiVersion": version,
        "kind": discovery.REVIEWS[(target.group, target.version)][target.plural],
    }
    answer["metadata"] = {}
    if target.plural == "selfsubjectreviews":
        answer["status"] = {"userInfo": user.as_object()}
    elif target.plural == "selfsubjectaccessreviews":
        # No RBAC here: whoever has a token may do everything.
        answer.update(spec=spec, status={"allowed": True})
    else:
        everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
        paths = {"verbs": ["*"], "nonResourceURLs": ["*"]}
        answer["spec"] = {}
        answer["status"] = {"resourceRules": [everything], "nonResourceRules": [paths], "incomplete": False}
    return as_json(answer, status=201)
