"""RBAC: may this user do that? The rules of Kubernetes over a snapshot of roles and bindings. Pure.

Knows nothing of HTTP, of the store, or of the words of a refusal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from insource.local.store_errors import Object

GROUP = "rbac.authorization.k8s.io"
MASTERS = "system:masters"
_ACCOUNT = "system:serviceaccount:"
_MOST_KNOWN = 50_000
"""Answers kept before all are forgotten: nobody fills the memory with questions."""


@dataclass(frozen=True)
class Request:
    """What is asked for; `namespace` "" is the cluster's scope. With `path` it is no resource: only `verb` counts."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


@dataclass(frozen=True)
class Decision:
    """`reason`: the binding that allows it; if none does, what is wrong with the caller's bindings, if anything."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True)
class _Grant:
    """One binding as it applies to one of its subjects."""

    binding: int
    source: str
    rules: tuple[Object, ...]
    error: str = ""
    gone: str = ""
    """The role's name, if there is none of that name."""


Caller = tuple[str, tuple[str, ...]]
"""(user name, groups)."""
_Names = frozenset[str] | None
_Match = tuple[str, _Names]
"""(the binding, the names that it is good for; None: any)."""


class Policy:
    """All roles and bindings of one moment, as API objects. Remembers what it was asked."""

    def __init__(
        self,
        cluster_roles: Iterable[Object],
        roles: Iterable[Object],
        cluster_bindings: Iterable[Object],
        bindings: Iterable[Object],
    ) -> None:
        self._roles: dict[tuple[str, str], Object] = {("", role["metadata"]["name"]): role for role in cluster_roles}
        for role in roles:
            self._roles[role["metadata"]["namespace"], role["metadata"]["name"]] = role
        self._grants: dict[tuple[str, str], list[_Grant]] = {}
        """(namespace or "", subject) -> what it is granted; a subject is `User:name` or `Group:name`."""
        for number, binding in enumerate((*cluster_bindings, *bindings)):
            self._add(number, binding)
        self._known: dict[tuple[Caller, str, str, str, str, str], tuple[list[_Match], list[str]]] = {}

    def decide(self, caller: Caller, request: Request) -> Decision:
        """Whether the caller may do it, and by which binding."""
        if MASTERS in caller[1]:
            return Decision(True)
        if request.path:
            return self._decide_path(caller, request)
        key = (caller, request.verb, request.group, request.resource, request.subresource, request.namespace)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[key] = self._matches(caller, request)
        for source, names in known[0]:
            if names is None or request.name in names:
                return Decision(True, f"RBAC: allowed by {source}")
        return _refused(known[1])

    def rules_for(self, caller: Caller, namespace: str) -> list[Object]:
        """Every rule that holds for the caller in a namespace, the cluster's first."""
        return [rule for grant in self._grants_of(caller, namespace) for rule in grant.rules]

    def held(self, caller: Caller, namespace: str) -> tuple[list[Object], list[str]]:
        """Every rule that holds for the caller in a namespace, and the roles that their bindings name in vain."""
        grants = list(self._grants_of(caller, namespace))
        return [rule for grant in grants for rule in grant.rules], [grant.gone for grant in grants if grant.gone]

    def rules_of(self, kind: str, namespace: str, name: str) -> list[Object] | None:
        """The rules of a Role or ClusterRole; None if there is none of that name."""
        role = self._roles.get(("" if kind == "ClusterRole" else namespace, name))
        return None if role is None else list(role.get("rules") or ())

    def _decide_path(self, caller: Caller, request: Request) -> Decision:
        errors = []
        for grant in self._grants_of(caller, ""):
            if any(_covers(rule, "verbs", request.verb) and covers_path(rule, request.path) for rule in grant.rules):
                return Decision(True, f"RBAC: allowed by {grant.source}")
            errors.append(grant.error)
        return _refused(errors)

    def _matches(self, caller: Caller, request: Request) -> tuple[list[_Match], list[str]]:
        found: list[_Match] = []
        errors = []
        for grant in self._grants_of(caller, request.namespace):
            errors.append(grant.error)
            allowing = (rule for rule in grant.rules if _allows(rule, request))
            found += [(grant.source, frozenset(rule.get("resourceNames") or ()) or None) for rule in allowing]
        return found, errors

    def _grants_of(self, caller: Caller, namespace: str) -> Iterator[_Grant]:
        """One for each binding, the cluster's first."""
        user, groups = caller
        for space in ("", namespace) if namespace else ("",):
            seen: set[int] = set()
            for subject in (f"User:{user}", *(f"Group:{group}" for group in groups)):
                for grant in self._grants.get((space, subject), ()):
                    if grant.binding not in seen:
                        seen.add(grant.binding)
                        yield grant

    def _add(self, number: int, binding: Object) -> None:
        namespace = binding["metadata"].get("namespace", "")
        reference = binding["roleRef"]
        of_cluster = reference["kind"] == "ClusterRole"
        role = self._roles.get(("" if of_cluster else namespace, reference["name"]))
        plural = "clusterrole" if of_cluster else "role"
        error = "" if role is not None else f'{plural}.{GROUP} "{reference["name"]}" not found'
        gone = reference["name"] if role is None else ""
        rules = tuple((role or {}).get("rules") or ())
        for subject in binding.get("subjects") or ():
            kind, name, its = subject["kind"], subject["name"], subject.get("namespace") or namespace
            if kind == "ServiceAccount" and not its:
                continue
            shown = f"{name}/{its}" if kind == "ServiceAccount" else name
            source = _source(binding, f'{kind} "{shown}"')
            subject_key = f"User:{_ACCOUNT}{its}:{name}" if kind == "ServiceAccount" else f"{kind}:{name}"
            self._grants.setdefault((namespace, subject_key), []).append(_Grant(number, source, rules, error, gone))


def _source(binding: Object, subject: str) -> str:
    metadata, reference = binding["metadata"], binding["roleRef"]
    namespace = metadata.get("namespace")
    shown = f'RoleBinding "{metadata["name"]}/{namespace}"' if namespace else f'ClusterRoleBinding "{metadata["name"]}"'
    return f'{shown} of {reference["kind"]} "{reference["name"]}" to {subject}'


def _refused(errors: Sequence[str]) -> Decision:
    told = list(dict.fromkeys(error for error in errors if error))
    if not told:
        return Decision(False)
    return Decision(False, f"RBAC: {told[0] if len(told) == 1 else '[' + ', '.join(told) + ']'}")


def _covers(rule: Object, field: str, value: str) -> bool:
    listed = rule.get(field) or ()
    return value in listed or "*" in listed


def _allows(rule: Object, request: Request) -> bool:
    """But for the rule's resourceNames."""
    if not _covers(rule, "verbs", request.verb) or not _covers(rule, "apiGroups", request.group):
        return False
    if not request.subresource:
        return _covers(rule, "resources", request.resource)
    listed = rule.get("resources") or ()
    return f"*/{request.subresource}" in listed or _covers(
        rule, "resources", f"{request.resource}/{request.subresource}"
    )


def covers_path(rule: Object, path: str) -> bool:
    """Whether one of the rule's paths, which may end in `*`, is this one."""
    for pattern in rule.get("nonResourceURLs") or ():
        if pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern.rstrip("*"))):
            return True
    return False
