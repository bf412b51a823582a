"""Role, ClusterRole and their bindings as built-in kinds: defaults and value checks. What they allow: see `rbac`."""

from __future__ import annotations

from insource.local import builtin_schemas as schemas
from insource.local.rbac import GROUP
from insource.local.schema_nodes import compact
from insource.local.store_errors import Cause, Object
from insource.local.store_kinds import ResourceKind, path_name_faults, subdomain_fault


def _prepare_role(obj: Object, _old: Object | None) -> None:
    obj["rules"] = obj.get("rules") or None


def _prepare_binding(obj: Object, _old: Object | None) -> None:
    obj["roleRef"] = {**(obj.get("roleRef") or {})}
    obj["roleRef"]["apiGroup"] = obj["roleRef"].get("apiGroup") or GROUP
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = subject.get("apiGroup") or GROUP
        elif not subject.get("apiGroup"):
            subject.pop("apiGroup", None)
    if not obj.get("subjects"):
        obj.pop("subjects", None)


def _check_role(obj: Object, _old: Object | None) -> list[Cause]:
    return _rule_causes(obj, namespaced=True)


def _check_cluster_role(obj: Object, _old: Object | None) -> list[Cause]:
    causes = _rule_causes(obj, namespaced=False)
    aggregation = obj.get("aggregationRule")
    if aggregation is not None and not aggregation.get("clusterRoleSelectors"):
        said = "Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"
        causes.append(Cause("FieldValueRequired", said, "aggregationRule.clusterRoleSelectors"))
    return causes


def _rule_causes(obj: Object, *, namespaced: bool) -> list[Cause]:
    causes, last = [], []
    for i, rule in enumerate(obj.get("rules") or ()):
        where = f"rules[{i}]"
        if not rule.get("verbs"):
            last.append(Cause("FieldValueRequired", "Required value", f"{where}.verbs"))
        paths = rule.get("nonResourceURLs")
        if not paths:
            for field, what in (("apiGroups", "api group"), ("resources", "resource")):
                if not rule.get(field):
                    said = f"Required value: resource rules must supply at least one {what}"
                    causes.append(Cause("FieldValueRequired", said, f"{where}.{field}"))
            continue
        wrong = ["namespaced rules cannot apply to non-resource URLs"] if namespaced else []
        if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
            wrong.append("rules cannot apply to both regular resources and non-resource URLs")
        for why in wrong:
            said = f"Invalid value: {compact(paths)}: {why}"
            causes.append(Cause("FieldValueInvalid", said, f"{where}.nonResourceURLs"))
    # The server's newer, declared checks speak after the older ones.
    return causes + last


def _check_binding(obj: Object, old: Object | None) -> list[Cause]:
    return _binding_causes(obj, old, ("Role", "ClusterRole"))


def _check_cluster_binding(obj: Object, old: Object | None) -> list[Cause]:
    return _binding_causes(obj, old, ("ClusterRole",))


def _binding_causes(obj: Object, old: Object | None, kinds: tuple[str, ...]) -> list[Cause]:
    reference = obj["roleRef"]
    causes, last = [], []
    if reference["apiGroup"] != GROUP:
        causes.append(_unsupported(reference["apiGroup"], (GROUP,), "roleRef.apiGroup"))
    if reference.get("kind", "") not in kinds:
        causes.append(_unsupported(reference.get("kind", ""), kinds, "roleRef.kind"))
    name = reference.get("name", "")
    if not name:
        last.append(Cause("FieldValueRequired", "Required value", "roleRef.name"))
    for why in path_name_faults(name):
        causes += [Cause("FieldValueInvalid", f"Invalid value: {compact(name)}: {why}", "roleRef.name")]
    for i, subject in enumerate(obj.get("subjects") or ()):
        if not subject.get("name"):
            last.append(Cause("FieldValueRequired", "Required value", f"subjects[{i}].name"))
        causes += _subject_causes(subject, f"subjects[{i}]", namespaced="Role" in kinds)
    if old is not None and old["roleRef"] != reference:
        shown = compact({shown: reference.get(key, "") for shown, key in _GO_NAMES})
        causes.append(Cause("FieldValueInvalid", f"Invalid value: {shown}: field is immutable", "roleRef"))
    return causes + last


_GO_NAMES = (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))


def _subject_causes(subject: Object, where: str, *, namespaced: bool) -> list[Cause]:
    kind, name, group = subject.get("kind", ""), subject.get("name", ""), subject.get("apiGroup", "")
    if kind in ("User", "Group"):
        return [_unsupported(group, (GROUP,), f"{where}.apiGroup")] if group != GROUP else []
    if kind != "ServiceAccount":
        return [_unsupported(kind, ("ServiceAccount", "User", "Group"), f"{where}.kind")]
    causes = []
    why = subdomain_fault(name) if name else ""
    if why:
        causes.append(Cause("FieldValueInvalid", f"Invalid value: {compact(name)}: {why}", f"{where}.name"))
    if group:
        causes.append(_unsupported(group, ("",), f"{where}.apiGroup"))
    if not namespaced and not subject.get("namespace"):
        causes.append(Cause("FieldValueRequired", "Required value", f"{where}.namespace"))
    return causes


def _unsupported(value: str, allowed: tuple[str, ...], field: str) -> Cause:
    listed = ", ".join(compact(item) for item in allowed)
    return Cause("FieldValueNotSupported", f"Unsupported value: {compact(value)}: supported values: {listed}", field)


def rbac_kinds() -> list[ResourceKind]:
    """The four kinds, schemas open: `builtin` closes them."""
    return [
        ResourceKind(
            GROUP, "v1", "clusterrolebindings", "clusterrolebinding", "ClusterRoleBinding", False,
            schema=schemas.ROLE_BINDING, prepare=_prepare_binding, check=_check_cluster_binding, names="path",
        ),
        ResourceKind(
            GROUP, "v1", "clusterroles", "clusterrole", "ClusterRole", False,
            schema=schemas.PLAIN, prepare=_prepare_role, check=_check_cluster_role, names="path",
        ),
        ResourceKind(
            GROUP, "v1", "rolebindings", "rolebinding", "RoleBinding", True,
            schema=schemas.ROLE_BINDING, prepare=_prepare_binding, check=_check_binding, names="path",
        ),
        ResourceKind(
            GROUP, "v1", "roles", "role", "Role", True,
            schema=schemas.PLAIN, prepare=_prepare_role, check=_check_role, names="path",
        ),
    ]  # fmt: skip
