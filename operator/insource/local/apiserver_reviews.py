"""Who somebody is and what they may do: kinds that are created, answered and never stored."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from insource.local import apiserver_requests as requests
from insource.local import discovery
from insource.local.apiserver_authorization import Authorizer
from insource.local.apiserver_documents import as_json
from insource.local.apiserver_requests import Target
from insource.local.auth import Tokens, User
from insource.local.rbac import Request
from insource.local.schema_nodes import compact
from insource.local.store_errors import ApiError, Cause, Object, bad_request, invalid

STATELESS = frozenset(plural for reviews in discovery.REVIEWS.values() for plural in reviews)
_LOCAL = "localsubjectaccessreviews"
_RULE_FIELDS = ("verbs", "apiGroups", "resources", "resourceNames")


async def review(
    request: web.Request, target: Target, user: User, tokens: Tokens, authorizer: Authorizer
) -> web.StreamResponse:
    """The answer to a TokenReview, SelfSubjectReview and their like, which are made and never stored."""
    if request.method != "POST":
        text = "the server does not allow this method on the requested resource"
        raise ApiError(405, "MethodNotAllowed", text)
    body = requests.read_body(await request.read(), request.headers.get("Content-Type", ""), "Ignore", "Review")
    spec = (body.get("spec") if isinstance(body, dict) else None) or {}
    if target.plural == "tokenreviews":
        return as_json(tokens.review(spec), status=201)
    answer: Object = {
        "apiVersion": f"{target.group}/{target.version}",
        "kind": discovery.REVIEWS[(target.group, target.version)][target.plural],
        "metadata": {"namespace": target.namespace} if target.plural == _LOCAL else {},
    }
    if target.plural == "selfsubjectreviews":
        answer["metadata"] = {"creationTimestamp": tokens.now()}
        answer["status"] = {"userInfo": user.as_object()}
    elif target.plural == "selfsubjectrulesreviews":
        answer.update(spec={}, status=_rules(user, spec, authorizer))
    else:
        _check(spec, target)
        whom = user
        if target.plural != "selfsubjectaccessreviews":
            whom = User(str(spec.get("user") or ""), groups=tuple(spec.get("groups") or ()))
        answer.update(spec=spec, status=_access(whom, spec, authorizer))
    return as_json(answer, status=201)


def _check(spec: Object, target: Target) -> None:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    causes = []
    if (resource is None) == (path is None):
        shown = compact({"Path": path.get("path", ""), "Verb": path.get("verb", "")} if path else None)
        said = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        causes.append(Cause("FieldValueInvalid", f"Invalid value: {shown}: {said}", "spec"))
    if target.plural != "selfsubjectaccessreviews" and not spec.get("user") and not spec.get("groups"):
        said = 'Invalid value: "": at least one of user or group must be specified'
        causes.append(Cause("FieldValueInvalid", said, "spec.user"))
    if target.plural == _LOCAL and (resource or {}).get("namespace", "") != target.namespace:
        said = f"Invalid value: {compact((resource or {}).get('namespace', ''))}: must match metadata.namespace"
        causes.append(Cause("FieldValueInvalid", said, "spec.resourceAttributes.namespace"))
    if causes:
        raise invalid("", target.group, "", causes)


def _access(user: User, spec: Object, authorizer: Authorizer) -> Object:
    decision = authorizer.decide(user, _asked(spec))
    return {"allowed": decision.allowed, **({"reason": decision.reason} if decision.reason else {})}


def _asked(spec: Object) -> Request:
    path: Mapping[str, str] | None = spec.get("nonResourceAttributes")
    if path is not None:
        return Request(path.get("verb", ""), path=path.get("path") or "/")
    said: Mapping[str, str] = spec["resourceAttributes"]
    fields = ("verb", "group", "resource", "subresource", "namespace", "name")
    return Request(*(said.get(field, "") for field in fields))


def _rules(user: User, spec: Object, authorizer: Authorizer) -> Object:
    namespace = spec.get("namespace")
    if not namespace:
        raise bad_request("no namespace on request")
    rules = authorizer.policy.rules_for((user.name, user.groups), namespace)
    resources = [{key: rule[key] for key in _RULE_FIELDS if rule.get(key)} for rule in rules if rule.get("resources")]
    paths = [
        {"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]}
        for rule in rules
        if rule.get("nonResourceURLs")
    ]
    return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}
