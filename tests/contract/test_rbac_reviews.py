"""Asking beforehand what one may: access reviews, rules reviews, and kubectl."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from tests.contract.conftest import KUBECTL
from tests.contract.rights import RBAC, WHO, Rights, rule
from tests.servers import Answer, ApiServer

REVIEWS = "/apis/authorization.k8s.io/v1"


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
