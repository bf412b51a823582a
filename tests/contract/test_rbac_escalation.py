"""Nobody grants more than they have: what the writer of a role or a binding must hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.contract.rights import RBAC, WHO, Rights, rule, until
from tests.servers import APPLY, MERGE, Answer

GROUP = "rbac.authorization.k8s.io"
WRITE = rule("create update patch delete get", "roles rolebindings clusterroles clusterrolebindings", GROUP)
ALL_RESOURCES = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
ALL_PATHS = {"verbs": ["*"], "nonResourceURLs": ["*"]}
NOT_HELD = f'user "{WHO}" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:'


class Granter:
    """`WHO` as somebody who may write roles and bindings, and holds no right but these."""

    def __init__(self, rights: Rights, *held: dict[str, Any], everywhere: bool = False) -> None:
        self.rights = rights
        self.space = f"{RBAC}/namespaces/{rights.namespace}"
        name = rights.cluster_role([WRITE, *held])
        rights.bind("ClusterRole", name, everywhere=everywhere)
        # Rights are taken up one binding at a time: once the last is there, all are.
        probe = f"{self.space}/roles/none"
        rights.until(404, "GET", probe)
        if everywhere:
            rights.until(404, "GET", f"{RBAC}/clusterroles/no-such-role")

    def role(self, name: str, *rules: dict[str, Any], **more: Any) -> Answer:
        body = {"metadata": {"name": name}, "rules": list(rules), **more}
        return self.rights.ask("POST", f"{self.space}/roles", body)

    def cluster_role(self, name: str, *rules: dict[str, Any], **more: Any) -> Answer:
        full = f"{name}-{self.rights.namespace}"
        self.rights.made.append(f"{RBAC}/clusterroles/{full}")
        body = {"metadata": {"name": full}, "rules": list(rules), **more}
        return self.rights.ask("POST", f"{RBAC}/clusterroles", body)

    def binding(self, name: str, kind: str, role: str, *, everywhere: bool = False) -> Answer:
        path = f"{RBAC}/clusterrolebindings" if everywhere else f"{self.space}/rolebindings"
        full = f"{name}-{self.rights.namespace}"
        if everywhere:
            self.rights.made.append(f"{path}/{full}")
        subjects = [{"kind": "User", "name": "somebody", "apiGroup": GROUP}]
        body = {"metadata": {"name": full}, "roleRef": {"kind": kind, "name": role}, "subjects": subjects}
        return self.rights.ask("POST", path, body)


def refused(answer: Answer, plural: str, name: str, lines: Iterable[str], then: str = "") -> None:
    """The whole Status of a grant that its writer may not make."""
    named = f'{plural}.{GROUP} "{name}"'
    assert answer.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "\n".join([f"{named} is forbidden: {NOT_HELD}", *lines]) + then,
        "reason": "Forbidden",
        "details": {"name": name, "group": GROUP, "kind": plural},
        "code": 403,
    }
    assert answer.status == 403


HELD = (
    rule("get list", "pods services"),
    rule("*", "configmaps"),
    rule("get", "secrets", resourceNames=["a", "b"]),
    rule("get", "*/scale deployments", "apps"),
    rule("watch", "*", "batch"),
    rule("patch", "leases", "*"),
)


@pytest.mark.parametrize(
    "granted",
    [
        rule("get", "pods"),
        rule("list get", "services pods"),
        rule("get", "pods", resourceNames=["p", "q"]),
        rule("get delete frobnicate *", "configmaps"),
        rule("get", "secrets", resourceNames=["b"]),
        rule("get", "deployments/scale replicasets/scale */scale", "apps"),
        rule("watch", "jobs jobs/status *", "batch"),
        {"verbs": ["patch"], "apiGroups": ["coordination.k8s.io", "", "*"], "resources": ["leases"]},
    ],
    ids=str,
)
def test_what_one_holds_one_may_grant(rights: Rights, granted: dict[str, Any]) -> None:
    answer = Granter(rights, *HELD).role("r", granted)
    assert (answer.status, answer.body.get("rules")) == (201, [granted])


@pytest.mark.parametrize(
    ("granted", "lacking"),
    [
        ([rule("delete", "pods")], ['{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}']),
        ([rule("*", "pods")], ['{APIGroups:[""], Resources:["pods"], Verbs:["*"]}']),
        (
            [rule("get watch update", "services pods")],
            [
                '{APIGroups:[""], Resources:["pods"], Verbs:["watch" "update"]}',
                '{APIGroups:[""], Resources:["services"], Verbs:["watch" "update"]}',
            ],
        ),
        (
            [rule("watch", "services pods"), rule("update watch", "pods")],
            [
                '{APIGroups:[""], Resources:["pods"], Verbs:["watch" "update" "watch"]}',
                '{APIGroups:[""], Resources:["services"], Verbs:["watch"]}',
            ],
        ),
        ([rule("get", "secrets")], ['{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}']),
        (
            [rule("get list", "secrets", resourceNames=["b", '"c"', "é\t\u00a0"])],
            [
                r'{APIGroups:[""], Resources:["secrets"], ResourceNames:["\"c\""], Verbs:["get" "list"]}',
                '{APIGroups:[""], Resources:["secrets"], ResourceNames:["b"], Verbs:["list"]}',
                r'{APIGroups:[""], Resources:["secrets"], ResourceNames:["é\t\u00a0"], Verbs:["get" "list"]}',
            ],
        ),
        ([rule("get", "scale", "apps")], ['{APIGroups:["apps"], Resources:["scale"], Verbs:["get"]}']),
        (
            [rule("get", "deployments/status *", "apps")],
            [
                '{APIGroups:["apps"], Resources:["*"], Verbs:["get"]}',
                '{APIGroups:["apps"], Resources:["deployments/status"], Verbs:["get"]}',
            ],
        ),
        (
            [{"verbs": ["watch"], "apiGroups": ["*", "batch"], "resources": ["jobs"]}],
            ['{APIGroups:["*"], Resources:["jobs"], Verbs:["watch"]}'],
        ),
        (
            [ALL_RESOURCES, rule("get", "pods")],
            ['{APIGroups:["*"], Resources:["*"], Verbs:["*"]}'],
        ),
    ],
    ids=str,
)
def test_what_one_does_not_hold_one_may_not_grant(
    rights: Rights, granted: list[dict[str, Any]], lacking: list[str]
) -> None:
    refused(Granter(rights, *HELD).role("r", *granted), "roles", "r", lacking)


def test_paths(rights: Rights) -> None:
    held = [{"verbs": ["get", "head"], "nonResourceURLs": ["/tree/*", "/exact"]}]
    granter = Granter(rights, *held, everywhere=True)
    good = {"verbs": ["get", "head"], "nonResourceURLs": ["/tree/*", "/tree/a/*", "/tree/b", "/exact"]}
    assert granter.cluster_role("good", good).status == 201
    bad = {"verbs": ["get", "post"], "nonResourceURLs": ["/exact/x", "/tree", "/exact", "*"]}
    answer = granter.cluster_role("bad", bad)
    name = f"bad-{rights.namespace}"
    lacking = [
        '{NonResourceURLs:["*"], Verbs:["get"]}',
        '{NonResourceURLs:["*"], Verbs:["post"]}',
        '{NonResourceURLs:["/exact"], Verbs:["post"]}',
        '{NonResourceURLs:["/exact/x"], Verbs:["get"]}',
        '{NonResourceURLs:["/exact/x"], Verbs:["post"]}',
        '{NonResourceURLs:["/tree"], Verbs:["get"]}',
        '{NonResourceURLs:["/tree"], Verbs:["post"]}',
    ]
    refused(answer, "clusterroles", name, lacking)


def test_rights_in_one_namespace_are_not_rights_everywhere(rights: Rights) -> None:
    Granter(rights, everywhere=True)
    granter = Granter(rights, rule("get", "pods"))
    assert granter.role("r", rule("get", "pods")).status == 201
    line = '{APIGroups:[""], Resources:["pods"], Verbs:["get"]}'
    refused(granter.cluster_role("r", rule("get", "pods")), "clusterroles", f"r-{rights.namespace}", [line])
    elsewhere = f"{RBAC}/namespaces/default/roles"
    answer = rights.ask("POST", elsewhere, {"metadata": {"name": "r"}, "rules": [rule("get", "pods")]})
    refused(answer, "roles", "r", [line])


def test_other_faults_come_after(rights: Rights) -> None:
    granter = Granter(rights, rule("get", "pods"))
    line = '{APIGroups:[""], Resources:["pods"], Verbs:["list"]}'
    assert granter.role("r", rule("get", "pods")).status == 201
    refused(granter.role("r", rule("list", "pods")), "roles", "r", [line])
    faulty = {"verbs": ["get"], "resources": ["pods"]}
    refused(granter.role("new", faulty, rule("list", "pods")), "roles", "new", [line])
    assert granter.role("r", faulty).status == 422, "what is there already is said last"
    assert granter.role("r", {"verbs": "get"}).status == 400, "what cannot be read is said first"
    stale = {"metadata": {"name": "r", "resourceVersion": "1"}}
    answer = rights.ask("PUT", f"{granter.space}/roles/r", {**stale, "rules": [rule("list", "pods")]})
    refused(answer, "roles", "r", [line])
    assert rights.ask("PUT", f"{granter.space}/roles/r", {**stale, "rules": [rule("get", "pods")]}).status == 409
    assert rights.ask("PUT", f"{granter.space}/roles/r", {**stale, "rules": [faulty]}).status == 409
    answer = rights.ask("PATCH", f"{granter.space}/roles/r", {**stale, "rules": [rule("list", "pods")]}, MERGE)
    refused(answer, "roles", "r", [line])
    elsewhere = f"{RBAC}/namespaces/no-such-namespace/roles"
    Granter(rights, everywhere=True)
    body = {"metadata": {"name": "r"}, "rules": [rule("list", "pods")]}
    assert rights.ask("POST", elsewhere, body).status == 404
    refused(rights.ask("POST", f"{granter.space}/roles?dryRun=All", body), "roles", "r", [line])


def test_a_role_without_a_name_of_its_own(rights: Rights) -> None:
    granter = Granter(rights)
    body = {"metadata": {"generateName": "made-"}, "rules": [rule("list", "pods")]}
    answer = rights.ask("POST", f"{granter.space}/roles", body)
    line = '{APIGroups:[""], Resources:["pods"], Verbs:["list"]}'
    assert (answer.status, answer.body["message"]) == (403, f"roles.{GROUP} is forbidden: {NOT_HELD}\n{line}")
    assert answer.body["details"] == {"group": GROUP, "kind": "roles"}


def test_every_way_to_write(rights: Rights) -> None:
    granter = Granter(rights, rule("get", "pods"))
    line = '{APIGroups:[""], Resources:["pods"], Verbs:["list"]}'
    role = rights.role(rule("get", "pods"))
    path = f"{granter.space}/roles/{role}"
    more = {"rules": [rule("get list", "pods")]}
    whole = {**rights.api.ok("GET", path), **more}
    refused(rights.ask("PUT", path, whole), "roles", role, [line])
    refused(rights.ask("PATCH", path, more, MERGE), "roles", role, [line])
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Role", "metadata": {"name": role}, **more}
    refused(rights.ask("PATCH", f"{path}?fieldManager=m&force=true", body, APPLY), "roles", role, [line])
    body["metadata"] = {"name": "applied"}
    applied = f"{granter.space}/roles/applied?fieldManager=m"
    refused(rights.ask("PATCH", applied, body, APPLY), "roles", "applied", [line])
    body["rules"] = [rule("get", "pods")]
    assert rights.ask("PATCH", applied, body, APPLY).status == 201


def test_a_role_that_gives_more_than_one_holds(rights: Rights) -> None:
    granter = Granter(rights)
    role = rights.role(rule("list", "pods"))
    path = f"{granter.space}/roles/{role}"
    line = '{APIGroups:[""], Resources:["pods"], Verbs:["list"]}'
    refused(rights.ask("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, MERGE), "roles", role, [line])
    assert rights.ask("PATCH", path, {"metadata": {"labels": None}}, MERGE).status == 200, "nothing changes"
    held = {"metadata": {"finalizers": ["insource.dev/test"]}}
    assert rights.ask("PATCH", path, held, MERGE).status == 200, "as the garbage collector needs it"
    both = {"metadata": {"finalizers": None, "annotations": {"a": "b"}}}
    refused(rights.ask("PATCH", path, both, MERGE), "roles", role, [line])
    assert rights.ask("PATCH", path, {"metadata": {"finalizers": None}}, MERGE).status == 200
    whole = rights.api.ok("GET", path)
    assert rights.ask("PUT", path, whole).status == 200
    del whole["metadata"]["resourceVersion"]
    refused(rights.ask("PUT", path, whole), "roles", role, [line])
    assert rights.ask("PATCH", path, {"rules": []}, MERGE).status == 200, "to give less is free"
    assert rights.ask("DELETE", path).status == 200


def test_escalate(rights: Rights) -> None:
    granter = Granter(rights)
    listing = rule("list", "pods")
    line = '{APIGroups:[""], Resources:["pods"], Verbs:["list"]}'
    refused(granter.role("r", listing), "roles", "r", [line])
    rights.grant(rule("escalate", "roles", GROUP, resourceNames=["named"]))
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Role", "metadata": {"name": "named"}, "rules": [listing]}
    applied = f"{granter.space}/roles/named?fieldManager=m"
    answer = until(lambda: rights.ask("PATCH", applied, body, APPLY), lambda found: found.status == 201)
    assert answer.body["rules"] == [listing]
    refused(granter.role("r", listing), "roles", "r", [line])
    rights.grant(rule("escalate", "roles", GROUP))
    until(lambda: granter.role("r", listing), lambda found: found.status == 201)
    assert granter.binding("b", "Role", "r").status == 403, "to say it is not to bind it"


def test_aggregation(rights: Rights) -> None:
    granter = Granter(rights, everywhere=True)
    selected = {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"no-such": "label"}}]}}
    name = f"all-{rights.namespace}"

    def is_refused(answer: Answer) -> bool:
        why = "must have cluster-admin privileges to use the aggregationRule"
        return answer.status == 403 and answer.body["message"] == f'clusterroles.{GROUP} "{name}" is forbidden: {why}'

    assert is_refused(granter.cluster_role("all", **selected))
    assert granter.cluster_role("all", aggregationRule={"clusterRoleSelectors": []}).status == 422
    line = '{APIGroups:[""], Resources:["pods"], Verbs:["list"]}'
    refused(granter.cluster_role("all", rule("list", "pods"), **selected), "clusterroles", name, [line])
    rights.make(f"{RBAC}/clusterroles", {"metadata": {"name": name}, **selected})
    path = f"{RBAC}/clusterroles/{name}"
    assert is_refused(rights.ask("PATCH", path, {"aggregationRule": None}, MERGE))
    escalating = rule("escalate", "clusterroles", GROUP, resourceNames=[name])
    rights.bind("ClusterRole", rights.cluster_role([escalating]), everywhere=True)
    rights.until(200, "PATCH", path, {"aggregationRule": None}, MERGE)
    assert rights.ask("PATCH", path, selected, MERGE).status == 200


def test_bindings(rights: Rights) -> None:
    granter = Granter(rights, rule("get", "pods"))
    held, more = rights.role(rule("get", "pods")), rights.role(rule("get list", "pods"), rule("*", "nodes"))
    lines = [
        '{APIGroups:[""], Resources:["nodes"], Verbs:["*"]}',
        '{APIGroups:[""], Resources:["pods"], Verbs:["list"]}',
    ]
    assert granter.binding("held", "Role", held).status == 201
    refused(granter.binding("more", "Role", more), "rolebindings", f"more-{rights.namespace}", lines)
    cluster_role = rights.cluster_role([rule("get list", "pods")])
    refused(granter.binding("all", "ClusterRole", cluster_role), "rolebindings", f"all-{rights.namespace}", lines[1:])
    path = rights.bind("Role", more, subject={"kind": "User", "name": "somebody"})
    name = path.rpartition("/")[2]
    subject = {"subjects": [{"kind": "User", "name": "other", "apiGroup": GROUP}]}
    refused(rights.ask("PATCH", path, subject, MERGE), "rolebindings", name, lines)
    assert rights.ask("PATCH", path, {"metadata": {"finalizers": []}}, MERGE).status == 200
    assert rights.ask("DELETE", path).status == 200


def test_what_cannot_be_bound(rights: Rights) -> None:
    granter = Granter(rights, everywhere=True)
    for kind, everywhere in (("Role", False), ("ClusterRole", False), ("ClusterRole", True)):
        plural = "clusterrolebindings" if everywhere else "rolebindings"
        answer = granter.binding("b", kind, "no-such-role", everywhere=everywhere)
        assert answer.status == 404
        assert answer.body["message"] == f'{plural}.{GROUP} "no-such-role" not found'
        assert answer.body["details"] == {"name": "no-such-role", "group": GROUP, "kind": plural}
    answer = granter.binding("b", "Person", "r")
    assert (answer.status, answer.body["message"]) == (500, 'unsupported role reference kind: "Person"')
    assert "details" not in answer.body
    assert "reason" not in answer.body


def test_bind(rights: Rights) -> None:
    granter = Granter(rights)
    many = rights.role(rule("*", "nodes"))
    other = rights.role(rule("*", "nodes"))
    cluster_role = rights.cluster_role([rule("*", "nodes")])
    rights.grant(rule("bind", "roles clusterroles", GROUP, resourceNames=[many, cluster_role, "not-there-yet"]))
    until(lambda: granter.binding("a", "Role", many), lambda found: found.status == 201)
    assert granter.binding("b", "Role", other).status == 403
    assert granter.binding("c", "ClusterRole", cluster_role).status == 201
    assert granter.binding("d", "Role", "not-there-yet").status == 201
    Granter(rights, everywhere=True)
    assert granter.binding("e", "ClusterRole", cluster_role, everywhere=True).status == 403, "only in the namespace"
    rights.bind("ClusterRole", rights.cluster_role([rule("bind", "clusterroles", GROUP)]), everywhere=True)
    until(lambda: granter.binding("e", "ClusterRole", cluster_role, everywhere=True), lambda found: found.status == 201)
    assert granter.role("r", rule("get", "nodes")).status == 403, "to bind it is not to say it"


def test_own_bindings_that_cannot_be_read(rights: Rights) -> None:
    granter = Granter(rights)
    rights.bind("Role", "gone")
    line = '{APIGroups:[""], Resources:["pods"], Verbs:["list"]}'
    errors = [f'roles.{GROUP} "{name}" not found' for name in ("a-gone", "gone")]
    then = f"; resolution errors: [{errors[1]}]"
    refused(granter.role("r", rule("list", "pods")), "roles", "r", [line], then)
    rights.bind("Role", "gone")
    rights.bind("ClusterRole", "gone", everywhere=True)
    refused(granter.role("r", rule("list", "pods")), "roles", "r", [line], then)
    rights.bind("ClusterRole", "a-gone", everywhere=True)
    both = granter.role("r", rule("list", "pods")).body["message"]
    assert both.endswith(tuple(f"; resolution errors: [[{', '.join(each)}]]" for each in (errors, errors[::-1])))
    assert granter.role("r").status == 201


def test_an_admin_of_a_namespace(rights: Rights) -> None:
    rights.bind("ClusterRole", "admin")
    space = f"{RBAC}/namespaces/{rights.namespace}"
    rights.until(200, "GET", f"{space}/roles")

    def bind(role: str) -> Answer:
        subjects = [{"kind": "User", "name": "somebody"}]
        body = {"metadata": {"name": role}, "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": subjects}
        return rights.ask("POST", f"{space}/rolebindings", body)

    for role in ("view", "edit", "admin"):
        assert bind(role).status == 201
    lines = ['{APIGroups:["*"], Resources:["*"], Verbs:["*"]}', '{NonResourceURLs:["*"], Verbs:["*"]}']
    refused(bind("cluster-admin"), "rolebindings", "cluster-admin", lines)


def test_a_service_account_with_its_groups(rights: Rights) -> None:
    user, token = rights.account()
    namespace, name = user.split(":")[2:]
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    rights.bind("ClusterRole", rights.cluster_role([WRITE]), subject=subject)
    body = {"metadata": {"name": "r"}, "rules": [rule("get", "pods")]}
    path = f"{RBAC}/namespaces/{namespace}/roles"
    answer = until(
        lambda: rights.api.request("POST", path, body, Authorization=token),
        lambda found: "attempting" in found.body["message"],
    )
    groups = f'["system:serviceaccounts" "system:serviceaccounts:{namespace}" "system:authenticated"]'
    assert answer.body["message"] == (
        f'roles.{GROUP} "r" is forbidden: user "{user}" (groups={groups}) is attempting to grant RBAC permissions '
        'not currently held:\n{APIGroups:[""], Resources:["pods"], Verbs:["get"]}'
    )
