"""Who may be taken for whom: impersonation by the rules of Kubernetes 1.37. Pure.

There are several ways (modes) to have the right. A constrained one needs two: to do this very request while taken for
another (`impersonate-on:<mode>:<verb>`), and to be taken for this one (`impersonate:<mode>`). The oldest needs only
the verb `impersonate`. Who is wanted is asked for piece by piece, by resource and name: the user (or ServiceAccount,
or Node), the uid, each group, each extra value. Knows nothing of HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from insource.local.auth import NODE_NAME, User
from insource.local.rbac import MASTERS, Decision, Request
from insource.local.schema_nodes import quoted
from insource.local.store_kinds import label_faults, subdomain_fault

GROUP = "authentication.k8s.io"
ANONYMOUS = "system:anonymous"
_UNAUTHENTICATED = "system:unauthenticated"
_AUTHENTICATED = "system:authenticated"
_NODES = "system:nodes"
_NODE = "system:node:"
_ACCOUNT = "system:serviceaccount:"
_MANY = 4
"""From so many groups or extra values on it is first asked whether any (`*`) would do."""
_PATH_PATTERN = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_PATH = re.compile(rf"{_PATH_PATTERN}\Z")

Decide = Callable[[Request], Decision]
"""Whether the one who impersonates may do that."""


class RefusedError(Exception):
    """The right that was missing, and what else is to be said about that."""

    def __init__(self, request: Request, reason: str) -> None:
        super().__init__(request, reason)
        self.request = request
        self.reason = reason


@dataclass(frozen=True)
class Mode:
    """One way to impersonate; `applies` says of (wanted, sender) whether it is one for them."""

    name: str
    applies: Callable[[User, User], bool]

    @property
    def constrained(self) -> bool:
        return bool(self.name)

    @property
    def verb(self) -> str:
        return f"impersonate:{self.name}" if self.name else "impersonate"


def impersonated(decide: Decide, sender: User, wanted: User, asked: Request, last: Mode | None) -> tuple[User, Mode]:
    """As whom `asked` is done, and by which mode. `wanted` has only what the sender has said, no group by itself.

    `last` is the mode by which the sender was last allowed: it is tried first, so its words are those of a refusal.
    Raises RefusedError.
    """
    first: RefusedError | None = None
    for mode in sorted(MODES, key=lambda mode: mode != last):
        if not mode.applies(wanted, sender):
            continue
        try:
            _check(decide, mode, wanted, asked)
        except RefusedError as refused:
            first = first or refused
        else:
            return _completed(mode, wanted), mode
    assert first is not None, "the oldest mode is for everybody"
    raise first


def service_account(user: str) -> tuple[str, str] | None:
    """(namespace, name) of a ServiceAccount's user name."""
    namespace, colon, name = user.removeprefix(_ACCOUNT).partition(":")
    if not user.startswith(_ACCOUNT) or not colon or label_faults(namespace) or subdomain_fault(name):
        return None
    return namespace, name


def _node(user: str) -> str | None:
    """The name of a Node by its user name."""
    name = user.removeprefix(_NODE)
    return None if not user.startswith(_NODE) or subdomain_fault(name) else name


def _is_bare(user: User) -> bool:
    return not (user.uid or user.groups or user.extra)


def _runs_on(wanted: User, sender: User) -> bool:
    """A ServiceAccount's token that was made for a pod on that Node."""
    node = _node(wanted.name)
    own = list(sender.extra.get(NODE_NAME, ()))
    return node is not None and service_account(sender.name) is not None and own == [node]


_ASSOCIATED = Mode("associated-node", lambda wanted, sender: _is_bare(wanted) and _runs_on(wanted, sender))
_LEGACY = Mode("", lambda _wanted, _sender: True)
MODES = (
    _ASSOCIATED,
    Mode("arbitrary-node", lambda wanted, _: _is_bare(wanted) and _node(wanted.name) is not None),
    Mode("serviceaccount", lambda wanted, _: _is_bare(wanted) and service_account(wanted.name) is not None),
    Mode("user-info", lambda wanted, _: _node(wanted.name) is None and service_account(wanted.name) is None),
    _LEGACY,
)
"""In the order in which they are tried."""


def _check(decide: Decide, mode: Mode, wanted: User, asked: Request) -> None:
    if mode.constrained:
        _require(decide, replace(asked, verb=f"impersonate-on:{mode.name}:{asked.verb}"))
    _require(decide, _user_request(mode, wanted.name))
    if wanted.uid:
        _require(decide, Request(mode.verb, GROUP, "uids", name=wanted.uid))
    _check_groups(decide, mode, wanted.groups)
    _check_extra(decide, mode, wanted.extra)


def _user_request(mode: Mode, user: str) -> Request:
    group = GROUP if mode.constrained else ""
    node, account = _node(user), service_account(user)
    if mode.constrained and node is not None:
        return Request(mode.verb, group, "nodes", name="*" if mode is _ASSOCIATED else node)
    if account is not None:
        return Request(mode.verb, group, "serviceaccounts", namespace=account[0], name=account[1])
    return Request(mode.verb, group, "users", name=user)


def _check_groups(decide: Decide, mode: Mode, groups: Sequence[str]) -> None:
    request = Request(mode.verb, GROUP if mode.constrained else "", "groups")
    if mode.constrained:
        if "" in groups:
            raise RefusedError(request, "impersonating the empty string group is not allowed")
        if MASTERS in groups:
            why = f"impersonating the {MASTERS} group is not allowed"
            raise RefusedError(replace(request, name=MASTERS), why)
        if len(groups) >= _MANY and decide(replace(request, name="*")).allowed:
            return
    for group in groups:
        _require(decide, replace(request, name=group))


def _check_extra(decide: Decide, mode: Mode, extra: Mapping[str, Sequence[str]]) -> None:
    request = Request(mode.verb, GROUP, "userextras")
    if mode.constrained and extra:
        why = next(filter(None, (_extra_fault(key, values) for key, values in sorted(extra.items()))), "")
        if why:
            raise RefusedError(request, why)
        many = len(extra) >= _MANY or sum(map(len, extra.values())) >= _MANY
        if many and decide(replace(request, subresource="*", name="*")).allowed:
            return
    for key, values in extra.items():
        for value in values:
            _require(decide, replace(request, subresource=key, name=value))


def _extra_fault(key: str, values: Sequence[str]) -> str:
    if not key:
        return "impersonating the empty string key in extra is not allowed"
    faults = _key_faults(key)
    if faults:
        said = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
        return f"impersonating an invalid key in extra is not allowed: {said}"
    return "impersonating the empty string value in extra is not allowed" if "" in values else ""


def _key_faults(key: str) -> list[str]:
    """A key is a domain and a path, such as `acme.io/foo`."""
    host, _, path = key.partition("/")
    if not host or not path:
        return [f'extra.key: Invalid value: {quoted(key)}: must be a domain-prefixed path (such as "acme.io/foo")']
    why = subdomain_fault(host)
    faults = [f"extra.key: Invalid value: {quoted(host)}: {why}"] if why else []
    if not _PATH.match(path):
        said = f"Invalid path (regex used for validation is '{_PATH_PATTERN}')"
        faults.append(f"extra.key: Invalid value: {quoted(path)}: {said}")
    return faults


def _require(decide: Decide, request: Request) -> None:
    decision = decide(request)
    if not decision.allowed:
        raise RefusedError(request, decision.reason)


def _completed(mode: Mode, wanted: User) -> User:
    """With the groups that such a user always has."""
    groups = list(wanted.groups)
    account = service_account(wanted.name)
    if account is not None and not groups:
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{account[0]}"]
    if mode.constrained and _node(wanted.name) is not None:
        groups = [_NODES]
    if wanted.name == ANONYMOUS:
        groups += [] if _UNAUTHENTICATED in groups else [_UNAUTHENTICATED]
    elif _UNAUTHENTICATED not in groups and _AUTHENTICATED not in groups:
        groups.append(_AUTHENTICATED)
    return replace(wanted, groups=tuple(groups))
