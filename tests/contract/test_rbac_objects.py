"""What a role or binding may say, what is kept of it, and how it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.rights import RBAC, Rights, rule, until
from tests.servers import MERGE, Answer, ApiServer

ROLE_FAULTS = [
    ({"rules": [{}]}, ["rules[0].apiGroups", "rules[0].resources", "rules[0].verbs"]),
    ({"rules": [{"verbs": ["get"], "resources": ["pods"]}]}, ["rules[0].apiGroups"]),
    ({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}, ["rules[0].nonResourceURLs"]),
    ({"metadata": {"name": "a/b"}}, ["metadata.name"]),
]
BINDING_FAULTS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["roleRef.kind", "roleRef.name"]),
    ({"roleRef": {"kind": "Foo", "name": "r", "apiGroup": "x"}}, ["roleRef.apiGroup", "roleRef.kind"]),
    ({"roleRef": {"kind": "Role", "name": "a/b"}}, ["roleRef.name"]),
    (
        {
            "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [
                {"kind": "User"},
                {"kind": "ServiceAccount", "name": "X!", "namespace": "ns"},
                {"kind": "Zzz", "name": "x"},
                {"kind": "Group", "name": "g", "apiGroup": "bad"},
                {"kind": "ServiceAccount", "name": "u", "namespace": "n", "apiGroup": "bad"},
            ],
        },
        ["subjects[1].name", "subjects[2].kind", "subjects[3].apiGroup", "subjects[4].apiGroup", "subjects[0].name"],
    ),
]
WORDS = {
    "rules[0].apiGroups": "Required value: resource rules must supply at least one api group",
    "rules[0].verbs": "Required value",
    "rules[0].nonResourceURLs": 'Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs',
    "metadata.name": "Invalid value: \"a/b\": may not contain '/'",
    "roleRef.apiGroup": 'Unsupported value: "x": supported values: "rbac.authorization.k8s.io"',
    "subjects[2].kind": 'Unsupported value: "Zzz": supported values: "ServiceAccount", "User", "Group"',
    "subjects[4].apiGroup": 'Unsupported value: "bad": supported values: ""',
    "subjects[0].name": "Required value",
}


@pytest.mark.parametrize(
    ("plural", "body", "fields"),
    [("roles", *fault) for fault in ROLE_FAULTS] + [("rolebindings", *fault) for fault in BINDING_FAULTS],
)
def test_faults(rights: Rights, plural: str, body: dict[str, Any], fields: list[str]) -> None:
    path = f"{RBAC}/namespaces/{rights.namespace}/{plural}"
    answer = rights.api.request("POST", path, {"metadata": {"name": "x"}, **body})
    assert answer.status == 422, answer.body
    causes = {cause["field"]: cause["message"] for cause in answer.body["details"]["causes"]}
    assert list(causes) == fields
    for field, words in WORDS.items():
        if field in causes:
            assert causes[field] == words


def test_faults_of_the_clusters_own(api: ApiServer) -> None:
    faulty: list[tuple[str, dict[str, Any], str]] = [
        (
            "clusterroles",
            {"rules": [{**rule("get", "pods"), "nonResourceURLs": ["/x"]}]},
            'rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and '
            "non-resource URLs",
        ),
        (
            "clusterroles",
            {"aggregationRule": {}},
            "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if "
            "aggregationRule is non-nil",
        ),
        (
            "clusterrolebindings",
            {"roleRef": {"kind": "Role", "name": "r"}},
            'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"',
        ),
        (
            "clusterrolebindings",
            {"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "a"}]},
            "subjects[0].namespace: Required value",
        ),
    ]
    for plural, body, words in faulty:
        answer = api.request("POST", f"{RBAC}/{plural}", {"metadata": {"name": "x"}, **body})
        assert answer.status == 422
        assert answer.body["message"].endswith(f'"x" is invalid: {words}')


def test_what_is_kept(rights: Rights) -> None:
    base = f"{RBAC}/namespaces/{rights.namespace}"
    for empty in ({}, {"rules": []}):
        made = rights.api.ok("POST", f"{base}/roles", {"metadata": {"generateName": "system:Empty-"}, **empty})
        assert made["rules"] is None
    subjects = [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]
    role = {"kind": "Role", "name": "no-such"}
    made = rights.api.ok(
        "POST", f"{base}/rolebindings", {"metadata": {"name": "b"}, "roleRef": role, "subjects": subjects}
    )
    group = "rbac.authorization.k8s.io"
    assert made["roleRef"] == {**role, "apiGroup": group}
    assert made["subjects"] == [{**subjects[0], "apiGroup": group}, subjects[1]]
    owned = made["metadata"]["managedFields"][0]["fieldsV1"]
    assert owned == {"f:roleRef": {}, "f:subjects": {}}
    answer = rights.api.request("PATCH", f"{base}/rolebindings/b", {"roleRef": {"name": "other"}}, MERGE)
    shown = f'{{"APIGroup":"{group}","Kind":"Role","Name":"other"}}'
    assert answer.status == 422
    assert answer.body["message"] == (
        f'RoleBinding.{group} "b" is invalid: roleRef: Invalid value: {shown}: field is immutable'
    )
    changed = rights.api.ok("PATCH", f"{base}/rolebindings/b", {"subjects": None}, MERGE)
    assert "subjects" not in changed


def test_the_default_roles_are_there(api: ApiServer) -> None:
    def rules(name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = api.ok("GET", f"{RBAC}/clusterroles/{name}")["rules"]
        return found

    assert rules("cluster-admin") == [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
        {"verbs": ["*"], "nonResourceURLs": ["*"]},
    ]
    assert rules("system:discovery")[0]["nonResourceURLs"][:4] == ["/api", "/api/*", "/apis", "/apis/*"]
    assert rules("system:basic-user")[0]["resources"] == ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]
    masters = api.ok("GET", f"{RBAC}/clusterrolebindings/cluster-admin")
    assert masters["subjects"][0]["name"] == "system:masters"
    for name, parts in (("view", ("view",)), ("edit", ("edit", "view")), ("admin", ("admin", "edit", "view"))):
        wanted = [item for part in parts for item in rules(f"system:aggregate-to-{part}")]

        def ask(name: str = name) -> Answer:
            return api.request("GET", f"{RBAC}/clusterroles/{name}")

        until(ask, lambda answer, wanted=wanted: all(item in (answer.body.get("rules") or ()) for item in wanted))


def test_tables(rights: Rights) -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    base = f"{RBAC}/namespaces/{rights.namespace}"
    role = rights.role(rule("get", "pods"))
    subjects = [
        {"kind": "User", "name": "u"},
        {"kind": "User", "name": "v"},
        {"kind": "Group", "name": "g"},
        {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
    ]
    binding = {"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": role}, "subjects": subjects}
    rights.make(f"{base}/rolebindings", binding)

    def shown(plural: str) -> tuple[list[tuple[str, str, int]], list[Any]]:
        table = rights.api.ok("GET", f"{base}/{plural}", accept=accept)
        columns = [(c["name"], c["type"], c["priority"]) for c in table["columnDefinitions"]]
        return columns, [row["cells"] for row in table["rows"]]

    columns, rows = shown("roles")
    assert columns == [("Name", "string", 0), ("Created At", "date", 0)]
    created = rights.api.ok("GET", f"{base}/roles/{role}")["metadata"]["creationTimestamp"]
    assert rows == [[role, created]]
    columns, rows = shown("rolebindings")
    assert columns == [
        *((name, "string", 0) for name in ("Name", "Role", "Age")),
        *((name, "string", 1) for name in ("Users", "Groups", "ServiceAccounts")),
    ]
    assert rows[0][:2] + rows[0][3:] == ["b", f"Role/{role}", "u, v", "g", "n/s"]
