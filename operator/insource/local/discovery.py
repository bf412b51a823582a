"""What is served, said in the two ways clients ask: aggregated (kubectl, helm) and legacy (kopf, `kubectl auth`)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from insource.local.store_errors import Object
from insource.local.store_kinds import ResourceKind

_CUSTOM_ORDER = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_STORED_AS = {
    ("apiextensions.k8s.io", "customresourcedefinitions"): "apiextensions.k8s.io/v1beta1",
    ("events.k8s.io", "events"): "/v1",
}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
REVIEWS = {
    ("authentication.k8s.io", "v1"): {"tokenreviews": "TokenReview", "selfsubjectreviews": "SelfSubjectReview"},
    ("authorization.k8s.io", "v1"): {
        "localsubjectaccessreviews": "LocalSubjectAccessReview",
        "selfsubjectaccessreviews": "SelfSubjectAccessReview",
        "selfsubjectrulesreviews": "SelfSubjectRulesReview",
        "subjectaccessreviews": "SubjectAccessReview",
    },
}
"""Resources that are only ever created, and never stored; of the cluster's scope but for `local...`."""
GroupVersion = tuple[str, str]


def groups(kinds: Iterable[ResourceKind]) -> dict[GroupVersion, list[ResourceKind]]:
    """Served kinds by (group, version), the core group first."""
    found: dict[GroupVersion, list[ResourceKind]] = {}
    for kind in kinds:
        found.setdefault((kind.group, kind.version), []).append(kind)
    for review in REVIEWS:
        found.setdefault(review, [])
    return found


def _subresources(kind: ResourceKind) -> list[tuple[str, str, str, str, list[str]]]:
    """(name, group, version, kind, verbs) of each."""
    change = ["get", "patch", "update"]
    found: list[tuple[str, str, str, str, list[str]]] = []
    if kind.ref == ("", "namespaces"):
        found.append(("finalize", kind.group, kind.version, kind.kind, ["update"]))
    if kind.status_subresource:
        found.append(("status", kind.group, kind.version, kind.kind, change))
    if kind.scale is not None:
        found.append(("scale", "autoscaling", "v1", "Scale", change))
    if "log" in kind.subresources:
        found.append(("log", kind.group, kind.version, kind.kind, ["get"]))
    if "token" in kind.subresources:
        found.append(("token", "authentication.k8s.io", "v1", "TokenRequest", ["create"]))
    return found if kind.custom else sorted(found)


def aggregated(served: Iterable[tuple[GroupVersion, list[ResourceKind]]]) -> Object:
    items = []
    for (group, version), kinds in served:
        resources = [_aggregated_kind(kind) for kind in kinds]
        for plural, review in REVIEWS.get((group, version), {}).items():
            resources.append(
                {
                    "resource": plural,
                    "responseKind": {"group": "", "version": "", "kind": review},
                    "scope": "Namespaced" if plural.startswith("local") else "Cluster",
                    "singularResource": review.lower(),
                    "verbs": ["create"],
                }
            )
        versions = [{"version": version, "resources": resources, "freshness": "Current"}]
        items.append({"metadata": {"name": group} if group else {}, "versions": versions})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _aggregated_kind(kind: ResourceKind) -> Object:
    def response_kind(group: str, version: str, name: str) -> Object:
        # A built-in kind's own group and version are not said again.
        own = not kind.custom and (group, version) == (kind.group, kind.version)
        return {"group": "" if own else group, "version": "" if own else version, "kind": name}

    described: Object = {
        "resource": kind.plural,
        "responseKind": response_kind(kind.group, kind.version, kind.kind),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": _verbs(kind),
    }
    if kind.short_names:
        described["shortNames"] = list(kind.short_names)
    if kind.categories:
        described["categories"] = list(kind.categories)
    subresources = [
        {
            "subresource": name,
            "responseKind": response_kind(group, version, response),
            "verbs": verbs,
        }
        for name, group, version, response, verbs in _subresources(kind)
    ]
    if subresources:
        described["subresources"] = subresources
    return described


def _verbs(kind: ResourceKind) -> list[str]:
    """In the order in which a real server lists them."""
    order = _CUSTOM_ORDER if kind.custom else sorted(kind.verbs)
    return [verb for verb in order if verb in kind.verbs]


def _storage_version_hash(kind: ResourceKind) -> str:
    """Of the version in which objects are stored. Source: k8s.io/apiserver, discovery/storageversionhash.go."""
    said = f"{_STORED_AS.get(kind.ref, f'{kind.group}/{kind.version}')}/{kind.kind}"
    return base64.b64encode(hashlib.sha256(said.encode()).digest()[:8]).decode()


def group_list(served: Iterable[GroupVersion]) -> Object:
    groups = [group_document(pair) for pair in served]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group_document(pair: GroupVersion) -> Object:
    version = {"groupVersion": "/".join(pair), "version": pair[1]}
    return {"name": pair[0], "versions": [version], "preferredVersion": version}


def resource_list(pair: GroupVersion, kinds: list[ResourceKind]) -> Object:
    """`/api/v1`, `/apis/G/V`."""
    resources: list[Object] = []
    for kind in kinds:
        described: Object = {
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": _verbs(kind),
            "storageVersionHash": _storage_version_hash(kind),
        }
        if kind.short_names:
            described["shortNames"] = list(kind.short_names)
        if kind.categories:
            described["categories"] = list(kind.categories)
        resources.append(described)
        for name, group, version, response, verbs in _subresources(kind):
            sub: Object = {
                "name": f"{kind.plural}/{name}",
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": response,
                "verbs": verbs,
            }
            if group != kind.group:
                sub.update(group=group, version=version)
            resources.append(sub)
    for plural, review in REVIEWS.get(pair, {}).items():
        resources.append(
            {
                "name": plural,
                "singularName": review.lower(),
                "namespaced": plural.startswith("local"),
                "kind": review,
                "verbs": ["create"],
            }
        )
    group_version = "/".join(part for part in pair if part)
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}
