"""What a request asks for in RBAC's terms, and whether its user may have it: if not, a 403 in the real words."""

from __future__ import annotations

from collections.abc import Mapping

from insource.local.auth import User
from insource.local.escalation import RESOURCES, check_grant
from insource.local.impersonation import Mode
from insource.local.list_options import is_true
from insource.local.rbac import GROUP, Decision, Policy, Request
from insource.local.store import Store
from insource.local.store_admission import Guard
from insource.local.store_errors import ApiError, Object, forbidden
from insource.local.store_kinds import ResourceKind

_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}

_MOST_REMEMBERED = 10_000


def request_of(method: str, path: str, query: Mapping[str, str]) -> Request:
    """What is asked for. A path that names no resource is asked for by the method's own name."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, rest = "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, rest = parts[1], parts[3:]
    else:
        return Request(method.lower(), path=path)
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in ("status", "finalize"):
            rest = rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    verb = _VERBS.get(method, "")
    if not name and verb == "get":
        verb = "watch" if "watch" in query and is_true(query["watch"]) else "list"
        name = _selected_name(query.get("fieldSelector", ""))
    elif not name and verb == "delete":
        verb = "deletecollection"
    return Request(verb, group, rest[0], rest[2] if len(rest) > 2 else "", namespace, name)


def _selected_name(selector: str) -> str:
    """Who lists or watches one object by its name asks for that one."""
    for term in selector.split(",") if "metadata.name" in selector else ():
        field, _, value = term.partition("=")
        value = value.removeprefix("=")
        if field.strip() == "metadata.name" and "/" not in value:
            return value
    return ""


class Authorizer:
    """Asks the roles and bindings as they are now; they are read again after one of them has changed.

    `modes` holds by which one each sender was last allowed to impersonate.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.modes: dict[str, Mode] = {}
        self._policy: Policy | None = None
        store.subscribe(self._changed)

    def _changed(self, _event: str, kind: ResourceKind, _obj: Object) -> None:
        if kind.group == GROUP:
            self._policy = None

    @property
    def policy(self) -> Policy:
        if self._policy is None:
            plurals = ("clusterroles", "roles", "clusterrolebindings", "rolebindings")
            self._policy = Policy(*(self._store.list((GROUP, plural)).items for plural in plurals))
        return self._policy

    def decide(self, user: User, request: Request) -> Decision:
        return self.policy.decide((user.name, user.groups), request)

    def remember(self, sender: User, mode: Mode) -> None:
        """That this mode has let the sender impersonate somebody."""
        if len(self.modes) >= _MOST_REMEMBERED:
            self.modes.clear()
        self.modes[sender.name] = mode

    def guard(self, user: User, request: Request) -> Guard | None:
        """What is to be asked before a role or binding is written: whether the user may grant it. None: nothing."""
        if request.group != GROUP or request.resource not in RESOURCES:
            return None

        def check(wanted: Object, old: Object | None) -> None:
            check_grant(self.policy, (user.name, user.groups), request, wanted, old)

        return check

    def require(self, user: User, request: Request) -> None:
        """Raises ApiError 403 if the user may not do it."""
        decision = self.decide(user, request)
        if not decision.allowed:
            raise refusal(user, request, decision.reason)


def refusal(user: User, request: Request, reason: str = "") -> ApiError:
    """The 403 that says what the user may not do."""
    because = f": {reason}" if reason else ""
    if request.path:
        said = _harmless(f'User "{user.name}" cannot {request.verb} path "{request.path}"')
        return forbidden("", "", "", f"{said}{because}")
    resource = f"{request.resource}/{request.subresource}" if request.subresource else request.resource
    where = f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
    what = f'cannot {request.verb} resource "{resource}" in API group "{request.group}" {where}'
    said = _harmless(f'User "{user.name}" {what}')
    return forbidden(request.resource, request.group, request.name, f"{said}{because}")


def _harmless(text: str) -> str:
    """Nothing that a browser would take for HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
