"""Who may do what: roles, bindings, and the words of a refusal."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from tests.contract.conftest import KUBECTL
from tests.contract.rights import RBAC, WHO, Rights, config_map, rule, until
from tests.servers import APPLY, MERGE, Answer, ApiServer

REVIEWS = "/apis/authorization.k8s.io/v1"


# --- the words of a refusal


@pytest.mark.parametrize(
    ("method", "path", "name", "what"),
    [
        ("GET", "/api/v1/namespaces/ns/pods/a", "a", 'get resource "pods" in API group "" in the namespace "ns"'),
        ("GET", "/api/v1/namespaces/ns/pods", "", 'list resource "pods" in API group "" in the namespace "ns"'),
        ("GET", "/api/v1/pods", "", 'list resource "pods" in API group "" at the cluster scope'),
        ("GET", "/api/v1/pods?watch=true", "", 'watch resource "pods" in API group "" at the cluster scope'),
        ("GET", "/api/v1/pods?watch=0", "", 'list resource "pods" in API group "" at the cluster scope'),
        (
            "GET",
            "/api/v1/pods?watch=1&fieldSelector=metadata.name%3Da,spec.nodeName%3Dx",
            "a",
            'watch resource "pods" in API group "" at the cluster scope',
        ),
        (
            "GET",
            "/api/v1/namespaces/ns/pods/a/log",
            "a",
            'get resource "pods/log" in API group "" in the namespace "ns"',
        ),
        ("GET", "/api/v1/nodes/x", "x", 'get resource "nodes" in API group "" at the cluster scope'),
        ("GET", "/api/v1/namespaces/ns", "ns", 'get resource "namespaces" in API group "" in the namespace "ns"'),
        (
            "PUT",
            "/api/v1/namespaces/ns/finalize",
            "ns",
            'update resource "namespaces/finalize" in API group "" in the namespace "ns"',
        ),
        ("POST", "/api/v1/namespaces/ns/pods", "", 'create resource "pods" in API group "" in the namespace "ns"'),
        ("PUT", "/api/v1/namespaces/ns/pods/a", "a", 'update resource "pods" in API group "" in the namespace "ns"'),
        ("PATCH", "/api/v1/namespaces/ns/pods/a", "a", 'patch resource "pods" in API group "" in the namespace "ns"'),
        ("DELETE", "/api/v1/namespaces/ns/pods/a", "a", 'delete resource "pods" in API group "" in the namespace "ns"'),
        (
            "DELETE",
            "/api/v1/namespaces/ns/pods",
            "",
            'deletecollection resource "pods" in API group "" in the namespace "ns"',
        ),
        (
            "POST",
            "/api/v1/namespaces/ns/serviceaccounts/a/token",
            "a",
            'create resource "serviceaccounts/token" in API group "" in the namespace "ns"',
        ),
        (
            "GET",
            "/apis/apps/v1/namespaces/ns/deployments/a/scale",
            "a",
            'get resource "deployments/scale" in API group "apps" in the namespace "ns"',
        ),
        ("GET", "/apis/no.such/v1/things", "", 'list resource "things" in API group "no.such" at the cluster scope'),
        (
            "GET",
            "/api/v1/namespaces/a&<b>/pods",
            "",
            'list resource "pods" in API group "" in the namespace "a&amp;&lt;b&gt;"',
        ),
    ],
)
def test_a_refusal_says_what_was_asked_for(api: ApiServer, method: str, path: str, name: str, what: str) -> None:
    answer = api.request(method, path, {} if method in ("POST", "PUT", "PATCH") else None, MERGE, user=WHO)
    parts = path.partition("?")[0].split("/")
    group = parts[2] if parts[1] == "apis" else ""
    plural = what.split('"')[1].partition("/")[0]
    qualified = f"{plural}.{group}" if group else plural
    named = f'{qualified} "{name}"' if name else qualified
    details = {"name": name, "group": group, "kind": plural}
    assert answer.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f'{named} is forbidden: User "{WHO}" cannot {what}',
        "reason": "Forbidden",
        "details": {key: value for key, value in details.items() if value},
        "code": 403,
    }
    assert answer.status == 403


@pytest.mark.parametrize("asked", ["GET /logs", "POST /foo/bar", "GET /", "GET /readyz/x"])
def test_a_path_that_is_no_resource(api: ApiServer, asked: str) -> None:
    method, path = asked.split()
    answer = api.request(method, path, user=WHO)
    assert answer.status == 403
    assert answer.body["message"] == f'forbidden: User "{WHO}" cannot {method.lower()} path "{path}"'
    assert answer.body["details"] == {}


@pytest.mark.parametrize(
    "path",
    ["/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/openapi/v3", "/version", "/healthz", "/readyz"],
)
def test_everybody_may_discover(api: ApiServer, path: str) -> None:
    assert api.request("GET", path, user=WHO).status == 200


def test_the_anonymous_may_ask_for_health_and_version_only(api: ApiServer) -> None:
    def ask(path: str) -> tuple[int, bytes]:
        connection = api.connection()
        connection.request("GET", path)
        response = connection.getresponse()
        found = response.status, response.read()
        connection.close()
        return found

    assert [ask(path)[0] for path in ("/version", "/healthz", "/livez", "/readyz")] == [200] * 4
    status, body = ask("/api")
    assert status == 403
    assert b'User \\"system:anonymous\\" cannot get path \\"/api\\"' in body
    assert ask("/api/v1/pods")[0] == 403


# --- what a rule allows


@pytest.mark.parametrize("verb", ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"])
def test_a_verb_allows_itself_only(rights: Rights, verb: str) -> None:
    rights.api.ok("POST", f"/api/v1/namespaces/{rights.namespace}/configmaps", config_map("a"))
    asked: dict[str, tuple[Any, ...]] = {
        "get": ("GET", "configmaps/a"),
        "list": ("GET", "configmaps"),
        "watch": ("GET", "configmaps?watch=1&timeoutSeconds=1"),
        "create": ("POST", "configmaps?dryRun=All", config_map("b")),
        "update": ("PUT", "configmaps/a", config_map("a")),
        "patch": ("PATCH", "configmaps/a", {"data": {"c": "d"}}, MERGE),
        "delete": ("DELETE", "configmaps/a?dryRun=All"),
        "deletecollection": ("DELETE", "configmaps?dryRun=All"),
    }
    rights.grant(rule(verb, "configmaps"))
    rights.until(201 if verb == "create" else 200, *asked[verb])
    refused = {other: rights.ask(*request).status for other, request in asked.items() if other != verb}
    assert set(refused.values()) == {403}, refused


def test_another_namespace_group_and_resource_are_not_allowed(rights: Rights) -> None:
    rights.grant(rule("*", "events", "events.k8s.io"))
    inside = f"/apis/events.k8s.io/v1/namespaces/{rights.namespace}/events"
    rights.until(200, "GET", inside)
    assert rights.ask("GET", "events").status == 403, "the same objects, by another group"
    assert rights.ask("GET", "/apis/events.k8s.io/v1/namespaces/default/events").status == 403
    assert rights.ask("GET", "/apis/events.k8s.io/v1/events").status == 403
    assert rights.ask("GET", "configmaps").status == 403


def test_names(rights: Rights) -> None:
    for name in ("a", "b"):
        rights.api.ok("POST", f"/api/v1/namespaces/{rights.namespace}/configmaps", config_map(name))
    rights.grant(rule("get list watch create update patch", "configmaps", resourceNames=["a", "c"]))
    rights.until(200, "GET", "configmaps/a")
    assert rights.ask("GET", "configmaps/b").status == 403
    assert rights.ask("GET", "configmaps").status == 403
    only = rights.ask("GET", "configmaps?fieldSelector=metadata.name%3Da")
    assert [item["metadata"]["name"] for item in only.body["items"]] == ["a"]
    assert rights.ask("GET", "configmaps?fieldSelector=metadata.name%3D%3Da").status == 200
    assert rights.ask("GET", "configmaps?fieldSelector=metadata.name%21%3Da").status == 403
    assert rights.ask("GET", "configmaps?fieldSelector=metadata.name%3Db").status == 403
    watched = rights.ask("GET", "configmaps?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Da")
    assert watched.status == 200
    # A creation has no name, unless it is by apply.
    assert rights.ask("POST", "configmaps", config_map("c")).status == 403
    applied = rights.ask("PATCH", "configmaps/c?fieldManager=m", config_map("c"), APPLY)
    assert applied.status == 201


def test_apply_creates_only_for_who_may_create(rights: Rights) -> None:
    rights.grant(rule("patch", "configmaps"))
    path = "configmaps/a?fieldManager=m"
    answer = rights.until(403, "PATCH", path, config_map("a"), APPLY)
    answer = until(
        lambda: rights.ask("PATCH", path, config_map("a"), APPLY), lambda held: "cannot create" in held.body["message"]
    )
    assert answer.body["message"] == (
        f'configmaps "a" is forbidden: User "{WHO}" cannot create resource "configmaps" in API group "" '
        f'in the namespace "{rights.namespace}"'
    )
    rights.api.ok("POST", f"/api/v1/namespaces/{rights.namespace}/configmaps", config_map("a"))
    assert rights.ask("PATCH", path, {**config_map("a"), "data": {"c": "d"}}, APPLY).status == 200


def test_wildcards(rights: Rights) -> None:
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    rights.grant(everything)
    rights.until(200, "GET", "configmaps")
    assert rights.ask("GET", f"/apis/apps/v1/namespaces/{rights.namespace}/deployments").status == 200
    assert rights.ask("GET", f"/apis/apps/v1/namespaces/{rights.namespace}/deployments/d/scale").status == 404
    assert rights.ask("GET", "/api/v1/nodes").status == 403, "but only in the namespace"
    # Who may do all in a namespace may see that namespace itself.
    assert rights.ask("GET", f"/api/v1/namespaces/{rights.namespace}").status == 200
    assert rights.ask("GET", "/api/v1/namespaces").status == 403


def test_a_resource_is_not_its_subresources(rights: Rights) -> None:
    rights.grant(rule("*", "deployments", "apps"))
    deployments = f"/apis/apps/v1/namespaces/{rights.namespace}/deployments"
    rights.until(200, "GET", deployments)
    assert rights.ask("GET", f"{deployments}/d/scale").status == 403
    assert rights.ask("GET", f"{deployments}/d/status").status == 403


@pytest.mark.parametrize("resource", ["deployments/scale", "*/scale"])
def test_a_subresource_is_not_its_resource(rights: Rights, resource: str) -> None:
    rights.grant(rule("get", resource, "apps"))
    deployments = f"/apis/apps/v1/namespaces/{rights.namespace}/deployments"
    rights.until(404, "GET", f"{deployments}/d/scale")
    assert rights.ask("GET", f"{deployments}/d").status == 403
    assert rights.ask("GET", f"{deployments}/d/status").status == 403
    replica_set = f"/apis/apps/v1/namespaces/{rights.namespace}/replicasets/r/scale"
    assert rights.ask("GET", replica_set).status == (404 if resource == "*/scale" else 403)


def test_paths(rights: Rights) -> None:
    paths = {"verbs": ["get"], "nonResourceURLs": ["/rbac-exact", "/rbac-tree/*"]}
    rights.bind("ClusterRole", rights.cluster_role([paths]), everywhere=True)
    rights.until(404, "GET", "/rbac-exact")
    found = {path: rights.ask("GET", path).status for path in ("/rbac-exact/x", "/rbac-tree", "/rbac-tree/a/b")}
    assert found == {"/rbac-exact/x": 403, "/rbac-tree": 403, "/rbac-tree/a/b": 404}
    assert rights.ask("POST", "/rbac-exact").status == 403


# --- whom a binding means


def test_a_cluster_role_bound_in_one_namespace(rights: Rights) -> None:
    rights.bind("ClusterRole", rights.cluster_role([rule("list", "configmaps nodes")]))
    rights.until(200, "GET", "configmaps")
    assert rights.ask("GET", "/api/v1/namespaces/default/configmaps").status == 403
    assert rights.ask("GET", "/api/v1/configmaps").status == 403
    assert rights.ask("GET", "/api/v1/nodes").status == 403, "what has no namespace cannot be granted in one"


def test_a_cluster_role_bound_everywhere(rights: Rights) -> None:
    rights.bind("ClusterRole", rights.cluster_role([rule("list", "configmaps nodes")]), everywhere=True)
    rights.until(200, "GET", "/api/v1/nodes")
    assert rights.ask("GET", "configmaps").status == 200
    assert rights.ask("GET", "/api/v1/configmaps").status == 200


def test_a_group(rights: Rights) -> None:
    role = rights.role(rule("list", "configmaps"))
    rights.bind("Role", role, subject={"kind": "Group", "name": "system:authenticated"})
    for user in (WHO, "reader"):
        rights.until(200, "GET", "configmaps", user=user)
    rights.bind("Role", rights.role(rule("list", "secrets")), subject={"kind": "Group", "name": WHO})
    rights.grant(rule("list", "services"))
    rights.until(200, "GET", "services")
    assert rights.ask("GET", "secrets").status == 403, "a group is no user"


def test_service_accounts(rights: Rights) -> None:
    account = f"/api/v1/namespaces/{rights.namespace}/serviceaccounts"
    tokens = {}
    for name in ("one", "other"):
        rights.api.ok("POST", account, {"metadata": {"name": name}})
        issued = rights.api.ok("POST", f"{account}/{name}/token", {"spec": {}})
        tokens[name] = issued["status"]["token"]

    def ask(name: str, path: str) -> Answer:
        full = f"/api/v1/namespaces/{rights.namespace}/{path}"
        return rights.api.request("GET", full, Authorization=f"Bearer {tokens[name]}")

    refused = ask("one", "configmaps")
    assert refused.status == 403
    user = f"system:serviceaccount:{rights.namespace}:one"
    assert f'User "{user}" cannot list resource "configmaps"' in refused.body["message"]
    # Without a namespace it is one of the binding's own.
    rights.bind("Role", rights.role(rule("list", "configmaps")), subject={"kind": "ServiceAccount", "name": "one"})
    until(lambda: ask("one", "configmaps"), lambda answer: answer.status == 200)
    assert ask("other", "configmaps").status == 403
    group = {"kind": "Group", "name": f"system:serviceaccounts:{rights.namespace}"}
    rights.bind("Role", rights.role(rule("list", "services")), subject=group)
    for name in tokens:
        until(lambda name=name: ask(name, "services"), lambda answer: answer.status == 200)
    assert ask("one", "secrets").status == 403


def test_a_binding_that_goes_takes_its_rights_along(rights: Rights) -> None:
    binding = rights.grant(rule("list", "configmaps"))
    rights.until(200, "GET", "configmaps")
    rights.api.ok("DELETE", binding)
    rights.until(403, "GET", "configmaps")


def test_a_role_that_changes_or_goes(rights: Rights) -> None:
    role = rights.role(rule("list", "configmaps"))
    rights.bind("Role", role)
    rights.until(200, "GET", "configmaps")
    path = f"{RBAC}/namespaces/{rights.namespace}/roles/{role}"
    rights.api.ok("PATCH", path, {"rules": [rule("list", "services")]}, MERGE)
    rights.until(200, "GET", "services")
    rights.until(403, "GET", "configmaps")
    rights.api.ok("DELETE", path)
    answer = rights.until(403, "GET", "services")
    assert answer.body["message"].endswith(f': RBAC: role.rbac.authorization.k8s.io "{role}" not found')


def test_aggregated_roles(rights: Rights) -> None:
    label = f"aggregate-{rights.namespace}"
    name = f"all-{rights.namespace}"
    rights.make(
        f"{RBAC}/clusterroles",
        {
            "metadata": {"name": name},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]},
            "rules": [rule("list", "secrets")],
        },
    )
    rights.bind("ClusterRole", name)
    part = rights.cluster_role([rule("list", "configmaps")], labels={label: "true"})
    rights.until(200, "GET", "configmaps")
    rights.until(403, "GET", "secrets")
    assert rights.api.ok("GET", f"{RBAC}/clusterroles/{name}")["rules"] == [rule("list", "configmaps")]
    rights.api.ok("DELETE", f"{RBAC}/clusterroles/{part}")
    rights.until(403, "GET", "configmaps")


def test_view_edit_and_admin(rights: Rights) -> None:
    binding = rights.bind("ClusterRole", "view")
    rights.until(200, "GET", "configmaps")
    assert rights.ask("GET", "secrets").status == 403
    assert rights.ask("POST", "configmaps", config_map("a")).status == 403
    rights.api.ok("DELETE", binding)
    rights.bind("ClusterRole", "edit")
    rights.until(201, "POST", "configmaps", config_map("a"))
    roles = f"{RBAC}/namespaces/{rights.namespace}/roles"
    assert rights.ask("GET", roles).status == 403
    rights.bind("ClusterRole", "admin")
    rights.until(200, "GET", roles)


# --- what a role or binding may say

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


# --- asking beforehand


def review(api: ApiServer, kind: str, spec: dict[str, Any], user: str = WHO, namespace: str = "") -> Answer:
    inside = f"/namespaces/{namespace}" if namespace else ""
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    return api.request("POST", f"{REVIEWS}{inside}/{kind.lower()}s", body, user=user)


def test_access_reviews(rights: Rights) -> None:
    role = rights.role(rule("list", "configmaps"))
    binding = rights.bind("Role", role).rpartition("/")[2]
    rights.until(200, "GET", "configmaps")
    space = rights.namespace
    asked = {"resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": space}}
    reason = f'RBAC: allowed by RoleBinding "{binding}/{space}" of Role "{role}" to User "{WHO}"'
    mine = review(rights.api, "SelfSubjectAccessReview", asked)
    assert mine.status == 201
    assert mine.body["spec"] == asked
    assert mine.body["status"] == {"allowed": True, "reason": reason}
    other = {"resourceAttributes": {**asked["resourceAttributes"], "verb": "get"}}
    assert review(rights.api, "SelfSubjectAccessReview", other).body["status"] == {"allowed": False}
    path = {"nonResourceAttributes": {"verb": "get", "path": "/api"}}
    assert review(rights.api, "SelfSubjectAccessReview", path).body["status"]["allowed"]
    assert review(rights.api, "SelfSubjectAccessReview", asked, "admin").body["status"] == {"allowed": True}

    theirs = review(rights.api, "SubjectAccessReview", {**asked, "user": WHO}, "admin")
    assert theirs.body["status"] == {"allowed": True, "reason": reason}
    masters = review(rights.api, "SubjectAccessReview", {**other, "user": "x", "groups": ["system:masters"]}, "admin")
    assert masters.body["status"] == {"allowed": True}
    local = review(rights.api, "LocalSubjectAccessReview", {**asked, "user": WHO}, "admin", space)
    assert (local.body["status"]["allowed"], local.body["metadata"]["namespace"]) == (True, space)
    assert review(rights.api, "SubjectAccessReview", {**asked, "user": WHO}).status == 403


def test_reviews_that_cannot_be_answered(api: ApiServer) -> None:
    both = "spec: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
    answer = review(api, "SelfSubjectAccessReview", {})
    assert (answer.status, answer.body["message"]) == (422, f'.authorization.k8s.io "" is invalid: {both}')
    anybody = review(api, "SubjectAccessReview", {"resourceAttributes": {"verb": "get"}}, "admin")
    assert anybody.body["message"].endswith(
        'spec.user: Invalid value: "": at least one of user or group must be specified'
    )
    elsewhere = {"user": "u", "resourceAttributes": {"namespace": "other"}}
    assert review(api, "LocalSubjectAccessReview", elsewhere, "admin", "default").status == 422
    nowhere = review(api, "SelfSubjectRulesReview", {})
    assert (nowhere.status, nowhere.body["message"]) == (400, "no namespace on request")
    assert api.request("GET", f"{REVIEWS}/subjectaccessreviews").status == 405


def test_rules_review(rights: Rights) -> None:
    rights.grant(rule("list", "configmaps", resourceNames=["a"]))
    rights.until(200, "GET", "configmaps?fieldSelector=metadata.name%3Da")
    answer = review(rights.api, "SelfSubjectRulesReview", {"namespace": rights.namespace})
    status = answer.body["status"]
    assert rule("list", "configmaps", resourceNames=["a"]) in status["resourceRules"]
    assert rule("create", "selfsubjectreviews", "authentication.k8s.io") in status["resourceRules"]
    assert "/api/*" in [path for item in status["nonResourceRules"] for path in item["nonResourceURLs"]]
    assert status["incomplete"] is False
    elsewhere = review(rights.api, "SelfSubjectRulesReview", {"namespace": "default"})
    assert not any("configmaps" in item["resources"] for item in elsewhere.body["status"]["resourceRules"])


def kubectl(api: ApiServer, user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    flags = ("--kubeconfig", str(api.kubeconfig(user)), "--cache-dir", str(api.credentials.folder / "cache"))
    return subprocess.run([KUBECTL, *flags, *arguments], capture_output=True, text=True, env=os.environ, timeout=60)


def test_kubectl_makes_roles_and_asks(rights: Rights) -> None:
    space = rights.namespace
    made = [
        kubectl(rights.api, "admin", "create", *command.split(), "-n", space)
        for command in (
            "role reader --verb=get,list --resource=pods,pods/log,deployments.apps",
            f"rolebinding reader --role=reader --user={WHO} --serviceaccount={space}:default",
            f"clusterrole {space}-paths --verb=get --non-resource-url=/rbac/*",
            f"clusterrole {space}-all --aggregation-rule=a=b",
            f"clusterrolebinding {space}-paths --clusterrole={space}-paths --group=somebody --user=u",
        )
    ]
    rights.made += [f"{RBAC}/clusterroles/{space}-paths", f"{RBAC}/clusterroles/{space}-all"]
    rights.made += [f"{RBAC}/clusterrolebindings/{space}-paths"]
    assert [answer.stderr for answer in made] == [""] * len(made)
    rules = rights.api.ok("GET", f"{RBAC}/namespaces/{space}/roles/reader")["rules"]
    assert rules == [
        {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]},
        {"verbs": ["get", "list"], "apiGroups": ["apps"], "resources": ["deployments"]},
    ]
    assert rights.api.ok("GET", f"{RBAC}/clusterroles/{space}-all")["aggregationRule"] == {
        "clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]
    }
    rights.until(200, "GET", "pods")

    def can_i(user: str, *question: str) -> str:
        return kubectl(rights.api, user, "auth", "can-i", *question, "-n", space).stdout.strip()

    asked = ("list pods", "delete pods", "get pods/log", "get pods --subresource=log", "list deployments.apps")
    asked += ("get /api", "get /metrics", "list nodes")
    answers = {question: can_i(WHO, *question.split()) for question in asked}
    assert answers == {
        "list pods": "yes",
        "delete pods": "no",
        "get pods/log": "yes",  # kubectl asks for the pod that is called log
        "get pods --subresource=log": "yes",
        "list deployments.apps": "yes",
        "get /api": "yes",
        "get /metrics": "no",
        "list nodes": "no",
    }
    assert can_i("admin", "delete", "nodes") == "yes"
    assert can_i("admin", "list", "pods", f"--as={WHO}") == "yes"
    assert can_i("admin", "delete", "pods", f"--as={WHO}") == "no"
    assert can_i("admin", "list", "pods", f"--as=system:serviceaccount:{space}:default") == "yes"
    assert can_i("admin", "delete", "pods", f"--as={WHO}", "--as-group=system:masters") == "yes"
    listed = kubectl(rights.api, WHO, "auth", "can-i", "--list", "-n", space).stdout.split("\n")
    assert "pods/log" in "".join(listed)
    shown = kubectl(rights.api, "admin", "get", "rolebinding", "reader", "-o", "wide", "-n", space).stdout
    assert shown.splitlines()[0].split() == ["NAME", "ROLE", "AGE", "USERS", "GROUPS", "SERVICEACCOUNTS"]
    assert shown.splitlines()[1].split()[:2] == ["reader", "Role/reader"]
    assert shown.splitlines()[1].split()[3:] == [WHO, f"{space}/default"]
    refused = kubectl(rights.api, WHO, "delete", "pod", "p", "-n", space)
    assert refused.stderr.startswith('Error from server (Forbidden): pods "p" is forbidden: User')
