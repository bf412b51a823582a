"""Who may be taken for whom, as `kubectl --as` asks: by which rights, and as whom the request is done then."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.rights import WHO, Rights, forbidden, rule, until
from tests.servers import Answer, ApiServer

REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
GROUP = "authentication.k8s.io"
USER = "Impersonate-User"
GROUPS = "Impersonate-Group"
UID = "Impersonate-Uid"
MASTERS = "system:masters"


def who(api: ApiServer, headers: list[tuple[str, str]], authorization: str) -> Answer:
    """Who one is, with headers of which some may repeat."""
    body = b'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}'
    return api.send("POST", REVIEW, body, [("Authorization", authorization), *headers])


class Sender:
    """A ServiceAccount that nobody knew before this test, with rights in the whole cluster."""

    def __init__(self, rights: Rights, *rules: dict[str, Any]) -> None:
        self.rights = rights
        self.user, self.authorization = rights.account()
        self.may(*rules)

    def may(self, *rules: dict[str, Any]) -> None:
        """These rights, too. Waits until they are known."""
        path = f"/api/v1/configmaps?fieldSelector=metadata.name%3D{len(self.rights.made)}"
        name = path.rpartition("%3D")[2]
        probe = rule("list", "configmaps", resourceNames=[name])
        role = self.rights.cluster_role([*rules, probe])
        namespace, account = self.user.split(":")[2:]
        subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
        self.rights.bind("ClusterRole", role, everywhere=True, subject=subject)
        until(
            lambda: self.rights.api.request("GET", path, Authorization=self.authorization),
            lambda found: found.status == 200,
        )

    def ask(self, *headers: tuple[str, str]) -> Answer:
        return who(self.rights.api, list(headers), self.authorization)

    def is_refused(
        self, answer: Answer, verb: str, resource: str, group: str = "", name: str = "", **more: str
    ) -> None:
        """By a Status that names the right that is missing."""
        where = f'in the namespace "{more["namespace"]}"' if "namespace" in more else "at the cluster scope"
        plural = resource.partition("/")[0]
        what = f'{verb} resource "{resource}" in API group "{group}" {where}{more.get("because", "")}'
        assert answer.body == forbidden(self.user, what, plural, group, name)


def taken_for(answer: Answer) -> Any:
    assert answer.status == 201, answer.body
    return answer.body["status"]["userInfo"]


# --- as whom


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(USER, "u")], {"username": "u", "groups": ["system:authenticated"]}),
        ([(USER, "u"), (GROUPS, "g"), (GROUPS, "h")], {"username": "u", "groups": ["g", "h", "system:authenticated"]}),
        (
            [(USER, "u"), (GROUPS, "system:authenticated"), (GROUPS, "h")],
            {"username": "u", "groups": ["system:authenticated", "h"]},
        ),
        ([(USER, "u"), (GROUPS, MASTERS)], {"username": "u", "groups": [MASTERS, "system:authenticated"]}),
        (
            [(USER, "system:serviceaccount:ns:a")],
            {
                "username": "system:serviceaccount:ns:a",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"],
            },
        ),
        (
            [(USER, "system:serviceaccount:ns:a"), (GROUPS, "g")],
            {"username": "system:serviceaccount:ns:a", "groups": ["g", "system:authenticated"]},
        ),
        (
            [(USER, "system:serviceaccount:n.s:a")],
            {"username": "system:serviceaccount:n.s:a", "groups": ["system:authenticated"]},
        ),
        (
            [(USER, "system:node:n.1")],
            {"username": "system:node:n.1", "groups": ["system:nodes", "system:authenticated"]},
        ),
        (
            [(USER, "system:node:n"), (GROUPS, "g")],
            {"username": "system:node:n", "groups": ["g", "system:authenticated"]},
        ),
        ([(USER, "system:node:N")], {"username": "system:node:N", "groups": ["system:authenticated"]}),
        (
            [
                (USER, "u"),
                (UID, "1-2"),
                ("Impersonate-Extra-Acme.io%2FSome", "x"),
                ("impersonate-extra-acme.io%2fsome", "y"),
                ("Impersonate-Extra-100%", ""),
            ],
            {
                "username": "u",
                "uid": "1-2",
                "groups": ["system:authenticated"],
                "extra": {"acme.io/some": ["x", "y"], "100%": [""]},
            },
        ),
        ([("Impersonate-Nothing", "x")], None),
        ([(USER, "")], None),
    ],
    ids=str,
)
def test_as_whom_a_request_is_done(rights: Rights, headers: list[tuple[str, str]], expected: Any) -> None:
    sender = Sender(rights, {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
    found = taken_for(sender.ask(*headers))
    if expected is None:
        assert found["username"] == sender.user
    else:
        assert found == expected


@pytest.mark.parametrize(
    "headers", [[(USER, "system:anonymous")], [(USER, "u"), (GROUPS, "system:unauthenticated")]], ids=str
)
def test_as_a_stranger(api: ApiServer, headers: list[tuple[str, str]]) -> None:
    sent = [("Authorization", f"Bearer {api.tokens['admin']}"), *headers]
    assert api.send("GET", "/version", None, sent).status == 200
    refused = api.send("GET", "/api", None, sent)
    assert refused.body["message"] == f'forbidden: User "{headers[0][1]}" cannot get path "/api"'


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ([(GROUPS, "g"), (GROUPS, 'h"')], r'UID:"", Groups:[]string{"g", "h\""}, Extra:map[string][]string(nil)'),
        ([(UID, "1")], 'UID:"1", Groups:[]string(nil), Extra:map[string][]string(nil)'),
        (
            [(USER, ""), ("Impersonate-Extra-b", "c"), ("Impersonate-Extra-a", "d")],
            'UID:"", Groups:[]string(nil), Extra:map[string][]string{"a":[]string{"d"}, "b":[]string{"c"}}',
        ),
    ],
)
def test_nobody_in_particular(api: ApiServer, headers: list[tuple[str, str]], shown: str) -> None:
    answer = who(api, headers, f"Bearer {api.tokens['admin']}")
    assert answer.status == 400
    said = f'requested &user.DefaultInfo{{Name:"", {shown}}} without impersonating a user name'
    assert answer.body["message"] == said


# --- by which right


def test_without_any_right(rights: Rights) -> None:
    refused = rights.ask("GET", "configmaps/x", Impersonate_User="admin", Impersonate_Group=MASTERS)
    assert refused.status == 403
    assert refused.body["message"] == (
        f'configmaps "x" is forbidden: User "{WHO}" cannot impersonate-on:user-info:get resource "configmaps" '
        f'in API group "" in the namespace "{rights.namespace}"'
    )
    path = rights.ask("GET", "/healthz", Impersonate_User="admin")
    assert path.body["message"] == f'forbidden: User "{WHO}" cannot impersonate-on:user-info:get path "/healthz"'
    account = rights.ask("GET", "configmaps", Impersonate_User="system:serviceaccount:a:b")
    assert "cannot impersonate-on:serviceaccount:list" in account.body["message"]
    node = rights.ask("GET", "configmaps", Impersonate_User="system:node:n")
    assert "cannot impersonate-on:arbitrary-node:list" in node.body["message"]
    by_group = rights.ask("GET", "configmaps", Impersonate_User="system:node:n", Impersonate_Group="g")
    assert by_group.body["message"] == (
        f'users "system:node:n" is forbidden: User "{WHO}" cannot impersonate resource "users" in API group "" '
        "at the cluster scope"
    )
    assert rights.ask("GET", "configmaps", user="admin", Impersonate_User=WHO).status == 403, "as the other, no more"


def test_the_verb_impersonate_piece_by_piece(rights: Rights) -> None:
    """A sender that was allowed by this verb before is refused by its words."""
    sender = Sender(rights, rule("impersonate", "users", resourceNames=["u"]))
    on = "impersonate-on:user-info:create"
    sender.is_refused(sender.ask((USER, "other")), on, "selfsubjectreviews", GROUP)
    assert taken_for(sender.ask((USER, "u")))["username"] == "u"
    verb = "impersonate"
    sender.is_refused(sender.ask((USER, "other")), verb, "users", name="other")
    sender.is_refused(sender.ask((USER, "u"), (GROUPS, "g")), verb, "groups", name="g")
    sender.may(rule("impersonate", "groups", resourceNames=["g", MASTERS]))
    sender.is_refused(sender.ask((USER, "u"), (GROUPS, "g"), (GROUPS, "h")), verb, "groups", name="h")
    assert taken_for(sender.ask((USER, "u"), (GROUPS, MASTERS)))["groups"] == [MASTERS, "system:authenticated"]

    sender.is_refused(sender.ask((USER, "u"), (UID, "1")), verb, "uids", GROUP, name="1")
    sender.may(rule("impersonate", "uids", GROUP, resourceNames=["1"]))
    assert taken_for(sender.ask((USER, "u"), (UID, "1")))["uid"] == "1"
    sender.is_refused(sender.ask((USER, "u"), (UID, "2")), verb, "uids", GROUP, name="2")

    scopes, other = "Impersonate-Extra-Scopes", "Impersonate-Extra-Other"
    sender.may(rule("impersonate", "userextras/scopes", GROUP, resourceNames=["view"]))
    assert taken_for(sender.ask((USER, "u"), (scopes, "view")))["extra"] == {"scopes": ["view"]}
    refused = sender.ask((USER, "u"), (scopes, "view"), (scopes, "edit"))
    sender.is_refused(refused, verb, "userextras/scopes", GROUP, name="edit")
    sender.is_refused(sender.ask((USER, "u"), (other, "x")), verb, "userextras/other", GROUP, name="x")

    account = "system:serviceaccount:ns:a"
    refused = sender.ask((USER, account), (GROUPS, "g"))
    sender.is_refused(refused, verb, "serviceaccounts", name="a", namespace="ns")
    sender.may(rule("impersonate", "serviceaccounts", resourceNames=["a"]))
    assert taken_for(sender.ask((USER, account), (GROUPS, "g")))["groups"] == ["g", "system:authenticated"]
    assert "system:serviceaccounts:ns" in taken_for(sender.ask((USER, account)))["groups"]
    refused = sender.ask((USER, "system:serviceaccount:ns:b"))
    sender.is_refused(refused, verb, "serviceaccounts", name="b", namespace="ns")


def test_a_service_account_by_a_right_in_its_namespace(rights: Rights) -> None:
    sender = Sender(rights)
    role = rights.role(rule("impersonate", "serviceaccounts"))
    namespace, account = sender.user.split(":")[2:]
    rights.bind("Role", role, subject={"kind": "ServiceAccount", "name": account, "namespace": namespace})
    wanted = f"system:serviceaccount:{namespace}:default"
    until(lambda: sender.ask((USER, wanted)), lambda found: found.status == 201)
    refused = sender.ask((USER, "system:serviceaccount:other:default"))
    sender.is_refused(refused, "impersonate", "serviceaccounts", name="default", namespace="other")
    assert sender.ask((USER, "u")).status == 403


ON = rule("impersonate-on:user-info:create", "selfsubjectreviews", GROUP)


def test_a_user_by_constrained_rights(rights: Rights) -> None:
    sender = Sender(rights, ON)
    verb = "impersonate:user-info"
    sender.is_refused(sender.ask((USER, "u")), verb, "users", GROUP, name="u")
    sender.may(rule(verb, "users", GROUP, resourceNames=["u"]))
    assert taken_for(sender.ask((USER, "u")))["groups"] == ["system:authenticated"]
    sender.is_refused(sender.ask((USER, "other")), verb, "users", GROUP, name="other")
    sender.is_refused(sender.ask((USER, "u"), (GROUPS, "g")), verb, "groups", GROUP, name="g")
    sender.is_refused(sender.ask((USER, "u"), (UID, "1")), verb, "uids", GROUP, name="1")
    elsewhere = rights.api.request("GET", "/api/v1/nodes", Authorization=sender.authorization, Impersonate_User="u")
    sender.is_refused(elsewhere, "impersonate-on:user-info:list", "nodes")

    sender.may(rule(verb, "groups uids userextras/*", GROUP))
    assert taken_for(sender.ask((USER, "u"), (GROUPS, "g"), (UID, "1")))["uid"] == "1"
    why = f": impersonating the {MASTERS} group is not allowed"
    sender.is_refused(sender.ask((USER, "u"), (GROUPS, MASTERS)), verb, "groups", GROUP, name=MASTERS, because=why)
    why = ": impersonating the empty string group is not allowed"
    sender.is_refused(sender.ask((USER, "u"), (GROUPS, "")), verb, "groups", GROUP, because=why)


INVALID = "impersonating an invalid key in extra is not allowed: "
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
PATH = r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')"
EXTRAS = {
    "": "impersonating the empty string key in extra is not allowed",
    "Scopes": f'{INVALID}extra.key: Invalid value: "scopes": must be a domain-prefixed path (such as "acme.io/foo")',
    "a_b%2Fc%20d": f'{INVALID}[extra.key: Invalid value: "a_b": {SUBDOMAIN}, extra.key: Invalid value: "c d": {PATH}]',
}


def test_extras_by_constrained_rights(rights: Rights) -> None:
    verb = "impersonate:user-info"
    sender = Sender(rights, ON, rule(verb, "users", GROUP))
    for key, words in EXTRAS.items():
        refused = sender.ask((USER, "u"), (f"Impersonate-Extra-{key}", "x"))
        sender.is_refused(refused, verb, "userextras", GROUP, because=f": {words}")
    project = "Impersonate-Extra-acme.io%2Fproject"
    why = ": impersonating the empty string value in extra is not allowed"
    sender.is_refused(sender.ask((USER, "u"), (project, "")), verb, "userextras", GROUP, because=why)
    refused = sender.ask((USER, "u"), (project, "x"))
    sender.is_refused(refused, verb, "userextras/acme.io/project", GROUP, name="x")
    sender.may(rule(verb, "userextras/acme.io/project", GROUP, resourceNames=["x"]))
    assert taken_for(sender.ask((USER, "u"), (project, "x")))["extra"] == {"acme.io/project": ["x"]}


def test_many_groups_and_extras_at_once(rights: Rights) -> None:
    """From four on, the right to `*` is enough."""
    verb = "impersonate:user-info"
    sender = Sender(rights, ON, rule(verb, "users", GROUP), rule(verb, "groups", GROUP, resourceNames=["*", "a"]))
    four = [(GROUPS, name) for name in "abcd"]
    assert len(taken_for(sender.ask((USER, "u"), *four))["groups"]) == 5
    sender.is_refused(sender.ask((USER, "u"), *four[:3]), verb, "groups", GROUP, name="b")
    values = [("Impersonate-Extra-acme.io%2Fproject", name) for name in "abcd"]
    sender.is_refused(sender.ask((USER, "u"), *values), verb, "userextras/acme.io/project", GROUP, name="a")
    sender.may(rule(verb, "userextras/*", GROUP, resourceNames=["*"]))
    assert taken_for(sender.ask((USER, "u"), *values))["extra"] == {"acme.io/project": ["a", "b", "c", "d"]}
    refused = sender.ask((USER, "u"), *values[:3])
    sender.is_refused(refused, verb, "userextras/acme.io/project", GROUP, name="a")


def test_accounts_and_nodes_by_constrained_rights(rights: Rights) -> None:
    sender = Sender(rights)
    cases = {
        "serviceaccount": ("serviceaccounts", "system:serviceaccount:ns:", {"namespace": "ns"}),
        "arbitrary-node": ("nodes", "system:node:", {}),
    }
    for mode, (resource, prefix, where) in cases.items():
        verb = f"impersonate:{mode}"
        sender.may(rule(f"impersonate-on:{mode}:create", "selfsubjectreviews", GROUP))
        until(lambda p=prefix: sender.ask((USER, f"{p}a")), lambda found, v=verb: f"{v} " in found.body["message"])
        sender.is_refused(sender.ask((USER, f"{prefix}a")), verb, resource, GROUP, name="a", **where)
        sender.may(rule(verb, resource, GROUP, resourceNames=["a"]))
        assert taken_for(sender.ask((USER, f"{prefix}a")))["username"] == f"{prefix}a"
        sender.is_refused(sender.ask((USER, f"{prefix}b")), verb, resource, GROUP, name="b", **where)
        assert sender.ask((USER, f"{prefix}a"), (GROUPS, "g")).status == 403


def test_the_node_of_a_pod(rights: Rights) -> None:
    """A token made for a pod on a node may be taken for that node, if its account may be for the node it is on."""
    sender = Sender(rights)
    namespace, account = sender.user.split(":")[2:]
    core = f"/api/v1/namespaces/{namespace}"
    spec = {
        "nodeName": f"node-{namespace}",
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "containers": [{"name": "c", "image": "i"}],
    }
    pod = rights.api.ok("POST", f"{core}/pods", {"metadata": {"name": "p"}, "spec": spec})
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]}
    request = {"spec": {"boundObjectRef": bound}}
    token = rights.api.ok("POST", f"{core}/serviceaccounts/{account}/token", request)["status"]["token"]
    unbound, sender.authorization = sender.authorization, f"Bearer {token}"
    extra = taken_for(sender.ask())["extra"]
    assert extra["authentication.kubernetes.io/node-name"] == [spec["nodeName"]]

    mine, other = (USER, f"system:node:{spec['nodeName']}"), (USER, "system:node:other")
    sender.is_refused(sender.ask(mine), "impersonate-on:associated-node:create", "selfsubjectreviews", GROUP)
    verb = "impersonate:associated-node"
    sender.may(rule("impersonate-on:associated-node:create", "selfsubjectreviews", GROUP))
    sender.is_refused(sender.ask(mine), verb, "nodes", GROUP, name="*")
    sender.may(rule(verb, "nodes", GROUP, resourceNames=["*"]))
    assert taken_for(sender.ask(mine)) == {
        "username": mine[1],
        "groups": ["system:nodes", "system:authenticated"],
    }
    sender.is_refused(sender.ask(other), "impersonate-on:arbitrary-node:create", "selfsubjectreviews", GROUP)
    sender.authorization = unbound
    assert sender.ask(mine).status == 403
