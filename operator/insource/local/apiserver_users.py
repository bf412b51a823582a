"""Whose request it is: the bearer of its token, or the one whom that bearer may and wants to be taken for."""

from __future__ import annotations

import re
from functools import partial
from urllib.parse import unquote

from aiohttp import web

from insource.local.apiserver_authorization import Authorizer, refusal
from insource.local.auth import API_AUDIENCE, Tokens, User
from insource.local.impersonation import ANONYMOUS, RefusedError, impersonated
from insource.local.rbac import Request
from insource.local.schema_nodes import quoted
from insource.local.store_errors import ApiError, bad_request

_ANYBODY = User(ANONYMOUS, groups=("system:unauthenticated",))
_EXTRA = "impersonate-extra-"
_MALFORMED = re.compile("%(?![0-9a-f]{2})")


def authenticated(request: web.Request, tokens: Tokens) -> User:
    """Who sent it: anonymous without a token. Raises ApiError 401 for a token that is not good."""
    if "Authorization" not in request.headers:
        return _ANYBODY
    scheme, _, token = request.headers["Authorization"].partition(" ")
    found = tokens.user(token.strip(), [API_AUDIENCE]) if scheme.lower() == "bearer" else None
    if found is None:
        raise ApiError(401, "Unauthorized", "Unauthorized")
    return found[0]


def acting(request: web.Request, asked: Request, sender: User, authorizer: Authorizer) -> User:
    """`sender`, or whom it impersonates, as `kubectl --as` asks. Raises ApiError 403, 400."""
    wanted = _wanted(request)
    if wanted is None:
        return sender
    try:
        taken, mode = impersonated(
            partial(authorizer.decide, sender), sender, wanted, asked, authorizer.modes.get(sender.name)
        )
    except RefusedError as refused:
        raise refusal(sender, refused.request, refused.reason) from refused
    authorizer.remember(sender, mode)
    return taken


def _wanted(request: web.Request) -> User | None:
    """Whom the headers name, as they name it; None if they ask for nobody. Raises ApiError 400."""
    headers = request.headers
    extra: dict[str, list[str]] = {}
    for header, value in headers.items():
        if header.lower().startswith(_EXTRA):
            extra.setdefault(_key(header.lower().removeprefix(_EXTRA)), []).append(value)
    name, uid = headers.get("Impersonate-User", ""), headers.get("Impersonate-Uid", "")
    wanted = User(name, uid, tuple(headers.getall("Impersonate-Group", [])), extra)
    if not name and (uid or wanted.groups or extra):
        raise bad_request(f"requested {_as_go(wanted)} without impersonating a user name")
    return wanted if name else None


def _key(encoded: str) -> str:
    return encoded if _MALFORMED.search(encoded) else unquote(encoded)


def _as_go(user: User) -> str:
    """As the real server shows it, in the notation of Go."""

    def texts(values: list[str]) -> str:
        return "[]string" + ("{" + ", ".join(map(quoted, values)) + "}" if values else "(nil)")

    pairs = ", ".join(f"{quoted(key)}:{texts(list(values))}" for key, values in sorted(user.extra.items()))
    extra = "map[string][]string" + ("{" + pairs + "}" if pairs else "(nil)")
    return f'&user.DefaultInfo{{Name:"", UID:{quoted(user.uid)}, Groups:{texts(list(user.groups))}, Extra:{extra}}}'
