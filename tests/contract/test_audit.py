"""Whom the audit log names, and why they may; what else it says is observed: `observed/auditing.py`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers import ApiServer

AGENT = "audited/1.0"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
Entry = dict[str, Any]


@pytest.fixture(scope="module")
def space(api: ApiServer) -> Iterator[str]:
    with api.namespace("audited") as name:
        yield name


def told(api: ApiServer, path: str, **more: str) -> Entry:
    """The entry of one request."""
    start = api.audit.position()
    api.request("GET", path, User_Agent=AGENT, **more)
    assert api.audit_log is not None
    end = time.monotonic() + 30
    while True:
        with api.audit_log.open("rb") as file:
            file.seek(start)
            lines = file.read().split(b"\n")[:-1]
        found = [json.loads(line) for line in lines if AGENT.encode() in line]
        if found:
            return dict(found[0])
        assert time.monotonic() < end, f"{api}: no entry of {path}"
        time.sleep(0.02)


def test_one_who_may_not(api: ApiServer, space: str) -> None:
    entry = told(api, f"/api/v1/namespaces/{space}/configmaps", user="nobody")
    assert entry["user"] == {"username": "nobody", "uid": "nobody", "groups": ["system:authenticated"]}
    assert entry["responseStatus"]["code"] == 403
    assert 'User "nobody" cannot list resource "configmaps"' in entry["responseStatus"]["message"]
    assert entry["annotations"] == {"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": ""}


def test_one_who_may_by_a_binding(api: ApiServer, space: str) -> None:
    rules = [{"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"]}]
    where = f"{RBAC}/namespaces/{space}"
    api.ok("POST", f"{where}/roles", {"metadata": {"name": "r"}, "rules": rules})
    bound = {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "reader"}]}
    api.ok("POST", f"{where}/rolebindings", {"metadata": {"name": "b"}, **bound})
    path = f"/api/v1/namespaces/{space}/configmaps"
    end = time.monotonic() + 30
    while api.request("GET", path, user="reader").status != 200:
        assert time.monotonic() < end
        time.sleep(0.02)
    reason = f'RBAC: allowed by RoleBinding "b/{space}" of Role "r" to User "reader"'
    said = told(api, path, user="reader")["annotations"]
    assert said == {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": reason}


def test_one_who_is_taken_for_another(api: ApiServer, space: str) -> None:
    entry = told(api, f"/api/v1/namespaces/{space}/secrets", Impersonate_User="jane", Impersonate_Group="team")
    assert entry["user"]["username"] == "admin"
    assert entry["impersonatedUser"] == {"username": "jane", "groups": ["team", "system:authenticated"]}
    assert entry["responseStatus"]["code"] == 403


def test_a_service_account(api: ApiServer, space: str) -> None:
    path = f"/api/v1/namespaces/{space}/serviceaccounts/default"
    end = time.monotonic() + 30
    while api.request("GET", path).status != 200:
        assert time.monotonic() < end
        time.sleep(0.02)
    token = api.ok("POST", f"{path}/token", {"spec": {"expirationSeconds": 600}})["status"]["token"]
    entry = told(api, f"/api/v1/namespaces/{space}/secrets", Authorization=f"Bearer {token}")
    assert entry["user"]["username"] == f"system:serviceaccount:{space}:default"
    assert entry["user"]["uid"]
    assert token not in json.dumps(entry)
