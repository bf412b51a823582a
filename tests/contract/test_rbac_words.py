"""The words of a refusal, and what everybody may ask."""

from __future__ import annotations

import pytest

from tests.contract.rights import WHO, forbidden
from tests.servers import MERGE, ApiServer


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
    assert answer.body == forbidden(WHO, what, plural, group, name)
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
