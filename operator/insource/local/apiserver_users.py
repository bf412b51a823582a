"""Whose request it is: the bearer of its token, or the one whom that bearer may and wants to be taken for."""

from __future__ import annotations

from aiohttp import web

from insource.local.apiserver_authorization import Authorizer, refusal
from insource.local.auth import API_AUDIENCE, Tokens, User
from insource.local.rbac import Request
from insource.local.store_errors import ApiError, bad_request, unsupported

ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))
_ACCOUNT = "system:serviceaccount:"


def authenticated(request: web.Request, tokens: Tokens) -> User:
    """Who sent it: anonymous without a token. Raises ApiError 401 for a token that is not good."""
    if "Authorization" not in request.headers:
        return ANONYMOUS
    scheme, _, token = request.headers["Authorization"].partition(" ")
    found = tokens.user(token.strip(), [API_AUDIENCE]) if scheme.lower() == "bearer" else None
    if found is None:
        raise ApiError(401, "Unauthorized", "Unauthorized")
    return found[0]


def acting(request: web.Request, asked: Request, sender: User, authorizer: Authorizer) -> User:
    """`sender`, or whom it impersonates, as `kubectl --as` asks. Raises ApiError 403, 400, 501."""
    headers = request.headers
    asks = [name for name in headers if name.lower().startswith("impersonate-")]
    if not asks:
        return sender
    other = [name for name in asks if name.lower() not in ("impersonate-user", "impersonate-group")]
    if other:
        raise unsupported(f"the header {other[0]}")
    name, groups = headers.get("Impersonate-User", ""), headers.getall("Impersonate-Group", [])
    if not name:
        raise bad_request("requested groups without impersonating a user name")
    namespace, _, account = name.removeprefix(_ACCOUNT).partition(":")
    by_account = name.startswith(_ACCOUNT) and bool(account)
    needed = [Request("impersonate", resource="users", name=name)]
    if by_account:
        needed = [Request("impersonate", resource="serviceaccounts", namespace=namespace, name=account)]
        groups = groups or ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    else:
        needed += [Request("impersonate", resource="groups", name=group) for group in groups]
    for need in needed:
        if not authorizer.decide(sender, need).allowed:
            verb = f"impersonate-on:{'serviceaccount' if by_account else 'user-info'}:{asked.verb}"
            raise refusal(sender, _renamed(asked, verb))
    if name != ANONYMOUS.name and "system:authenticated" not in groups:
        groups = [*groups, "system:authenticated"]
    return User(name, groups=tuple(groups))


def _renamed(request: Request, verb: str) -> Request:
    return Request(
        verb, request.group, request.resource, request.subresource, request.namespace, request.name, request.path
    )
