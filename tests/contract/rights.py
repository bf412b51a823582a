"""Roles and bindings for one caller, in a namespace of their own, on either server; gone when the test ends."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.servers import Answer, ApiServer

RBAC = "/apis/rbac.authorization.k8s.io/v1"
WHO = "nobody"
_numbers = itertools.count()


def fresh(word: str) -> str:
    """A name that nothing in this run has yet."""
    return f"{word}-{next(_numbers)}"


def forbidden(user: str, what: str, plural: str, group: str = "", name: str = "") -> dict[str, Any]:
    """The Status that tells `user` that it may not do `what`: verb, resource and place, in a real server's words."""
    qualified = f"{plural}.{group}" if group else plural
    named = f'{qualified} "{name}"' if name else qualified
    details = {"name": name, "group": group, "kind": plural}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f'{named} is forbidden: User "{user}" cannot {what}',
        "reason": "Forbidden",
        "details": {key: value for key, value in details.items() if value},
        "code": 403,
    }


class Rights:
    """A namespace of its own, and what `WHO` is granted in this test, taken back at its end."""

    def __init__(self, api: ApiServer, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self.made: list[str] = []

    def make(self, path: str, body: dict[str, Any]) -> str:
        self.api.ok("POST", path, body)
        self.made.append(f"{path}/{body['metadata']['name']}")
        return str(body["metadata"]["name"])

    def cluster_role(self, rules: Sequence[dict[str, Any]], **metadata: Any) -> str:
        name = f"{fresh('r')}-{self.namespace}"
        return self.make(f"{RBAC}/clusterroles", {"metadata": {"name": name, **metadata}, "rules": list(rules)})

    def role(self, *rules: dict[str, Any]) -> str:
        name = fresh("r")
        path = f"{RBAC}/namespaces/{self.namespace}/roles"
        return self.make(path, {"metadata": {"name": name}, "rules": list(rules)})

    def bind(self, kind: str, name: str, *, everywhere: bool = False, subject: dict[str, Any] | None = None) -> str:
        """The path of the binding."""
        binding = f"{fresh('b')}-{self.namespace}"
        path = f"{RBAC}/clusterrolebindings" if everywhere else f"{RBAC}/namespaces/{self.namespace}/rolebindings"
        subjects = [subject or {"kind": "User", "name": WHO}]
        self.make(path, {"metadata": {"name": binding}, "roleRef": {"kind": kind, "name": name}, "subjects": subjects})
        return f"{path}/{binding}"

    def grant(self, *rules: dict[str, Any]) -> str:
        return self.bind("Role", self.role(*rules))

    def account(self) -> tuple[str, str]:
        """A new ServiceAccount: its user's name, and a header that says one is it."""
        name, path = fresh("a"), f"/api/v1/namespaces/{self.namespace}/serviceaccounts"
        self.api.ok("POST", path, {"metadata": {"name": name}})
        token = self.api.ok("POST", f"{path}/{name}/token", {"spec": {}})["status"]["token"]
        return f"system:serviceaccount:{self.namespace}:{name}", f"Bearer {token}"

    def ask(self, method: str, path: str, body: Any = None, media: str = "application/json", **more: Any) -> Answer:
        """By `WHO`; a path that begins with no slash is inside the namespace, in the core group."""
        full = path if path.startswith("/") else f"/api/v1/namespaces/{self.namespace}/{path}"
        return self.api.request(method, full, body, media, **{"user": WHO, **more})

    def until(self, status: int, *request: Any, **more: Any) -> Answer:
        """A real server hears of a binding a moment later."""
        return until(lambda: self.ask(*request, **more), lambda answer: answer.status == status)


def until(ask: Callable[[], Answer], good: Callable[[Answer], bool]) -> Answer:
    deadline = time.monotonic() + 20
    while True:
        answer = ask()
        if good(answer):
            return answer
        assert time.monotonic() < deadline, answer.body
        time.sleep(0.02)


def rule(verbs: str, resources: str, group: str = "", **more: Any) -> dict[str, Any]:
    return {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), **more}


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}}
