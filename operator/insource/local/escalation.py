"""Nobody grants more than they have: what a role or a binding would give, and whether its writer may give it. Pure.

The rules of Kubernetes: one may grant what one holds oneself; with the verb `escalate` a role may say anything, with
the verb `bind` a role may be bound whatever it says. Knows nothing of HTTP or of the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from insource.local.rbac import GROUP, MASTERS, Caller, Policy, Request, covers_path
from insource.local.schema_nodes import quoted
from insource.local.store_errors import ApiError, Object, forbidden, not_found

RESOURCES = ("clusterroles", "roles", "clusterrolebindings", "rolebindings")
_ROLES = {"ClusterRole": "clusterroles", "Role": "roles"}
_FULL: list[Object] = [
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
]
_COLLECTION = ("ownerReferences", "finalizers", "selfLink", "managedFields")
"""What of the metadata the garbage collector must be able to change, whatever the object grants."""


class Right(NamedTuple):
    """The least that a rule can give: one verb on one resource, by name or not, or on one path."""

    verb: str
    group: str = ""
    resource: str = ""
    name: str | None = None
    """None: of any name."""
    path: str | None = None


def check_grant(policy: Policy, caller: Caller, request: Request, wanted: Object, old: Object | None) -> None:
    """Raises ApiError 403 if `wanted`, a role or binding, gives what the caller may not give; 404 if it binds none.

    `request` is the write as it was asked for. `old` is what is there now, None for a creation.
    """
    if MASTERS in caller[1] or (old is not None and _is_only_for_collection(wanted, old)):
        return
    if request.resource in _ROLES.values():
        _check_role(policy, caller, request, wanted, old)
    else:
        _check_binding(policy, caller, request, wanted)


def _check_role(policy: Policy, caller: Caller, request: Request, wanted: Object, old: Object | None) -> None:
    escalate = Request("escalate", GROUP, request.resource, "", request.namespace, request.name)
    if policy.decide(caller, escalate).allowed:
        return
    _require_held(policy, caller, request, wanted, wanted.get("rules") or ())
    if any((obj.get("aggregationRule") or {}).get("clusterRoleSelectors") for obj in (wanted, old or {})):
        held, _ = policy.held(caller, request.namespace)
        if missing(held, _FULL):
            raise _refused(request, wanted, "must have cluster-admin privileges to use the aggregationRule")


def _check_binding(policy: Policy, caller: Caller, request: Request, wanted: Object) -> None:
    reference = wanted["roleRef"]
    kind, name = reference.get("kind", ""), reference.get("name", "")
    plural = _ROLES.get(kind)
    if plural is None:
        raise ApiError(500, "", f"unsupported role reference kind: {quoted(kind)}", None)
    bind = Request("bind", reference["apiGroup"], plural, "", request.namespace, name)
    if policy.decide(caller, bind).allowed:
        return
    rules = policy.rules_of(kind, request.namespace, name)
    if rules is None:
        # The words of the real server, which names the kind that is written.
        raise not_found(request.resource, GROUP, name)
    _require_held(policy, caller, request, wanted, rules)


def _require_held(policy: Policy, caller: Caller, request: Request, wanted: Object, granted: Iterable[Object]) -> None:
    held, gone = policy.held(caller, request.namespace)
    lacking = missing(held, granted)
    if not lacking:
        return
    groups = " ".join(quoted(group) for group in caller[1])
    said = f"user {quoted(caller[0])} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:"
    errors = list(dict.fromkeys(not_found(request.resource, GROUP, name).message for name in gone))
    resolving = f"; resolution errors: [{_joined(errors)}]" if errors else ""
    raise _refused(request, wanted, "\n".join([said, *described(lacking)]) + resolving)


def missing(held: Sequence[Object], granted: Iterable[Object]) -> list[Right]:
    """The rights of the rules `granted` that no rule of `held` gives."""
    return [right for rule in granted for right in rights(rule) if not any(_gives(own, right) for own in held)]


def rights(rule: Object) -> Iterator[Right]:
    """A rule's rights, one by one."""
    verbs, names = rule.get("verbs") or (), rule.get("resourceNames") or (None,)
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in verbs:
                yield from (Right(verb, group, resource, name) for name in names)
    for path in rule.get("nonResourceURLs") or ():
        yield from (Right(verb, path=path) for verb in verbs)


def described(lacking: Iterable[Right]) -> list[str]:
    """Rights in words, sorted, those that differ by verb alone on one line."""
    verbs: dict[Right, list[str]] = {}
    for number, right in enumerate(lacking):
        # Paths stay apart, each with its verb.
        key = right._replace(verb="" if right.path is None else str(number))
        verbs.setdefault(key, []).append(right.verb)
    return sorted({_words(right, found) for right, found in verbs.items()})


def _words(right: Right, verbs: Sequence[str]) -> str:
    if right.path is not None:
        parts = [f"NonResourceURLs:[{quoted(right.path)}]"]
    else:
        parts = [f"APIGroups:[{quoted(right.group)}]", f"Resources:[{quoted(right.resource)}]"]
        parts += [f"ResourceNames:[{quoted(right.name)}]"] if right.name is not None else []
    return "{" + ", ".join([*parts, f"Verbs:[{' '.join(quoted(verb) for verb in verbs)}]"]) + "}"


def _gives(rule: Object, right: Right) -> bool:
    if not _has(rule, "verbs", right.verb):
        return False
    names = rule.get("resourceNames") or ()
    if right.path is not None:
        return not names and covers_path(rule, right.path)
    if not _has(rule, "apiGroups", right.group) or not _has_resource(rule, right.resource):
        return False
    return not names or right.name in names


def _has(rule: Object, field: str, value: str) -> bool:
    listed = rule.get(field) or ()
    return value in listed or "*" in listed


def _has_resource(rule: Object, resource: str) -> bool:
    _, slash, subresource = resource.partition("/")
    return _has(rule, "resources", resource) or (slash != "" and f"*/{subresource}" in (rule.get("resources") or ()))


def _is_only_for_collection(wanted: Object, old: Object) -> bool:
    """Whether nothing changes but what the garbage collector needs to change."""

    def rest(obj: Object) -> Object:
        metadata = {key: value for key, value in obj["metadata"].items() if key not in _COLLECTION and value}
        return {**{key: value for key, value in obj.items() if value}, "metadata": metadata}

    return rest(wanted) == rest(old)


def _joined(errors: Sequence[str]) -> str:
    return errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"


def _refused(request: Request, wanted: Object, why: str) -> ApiError:
    return forbidden(request.resource, GROUP, request.name or wanted["metadata"].get("name", ""), why)
