"""Who may do what: what a rule allows, and whom a binding means."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.rights import RBAC, WHO, Rights, config_map, rule, until
from tests.servers import APPLY, MERGE, Answer

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
