"""The least there is: both servers answer over TLS, and say no to a stranger."""

from __future__ import annotations

from tests.servers import ApiServer


def test_health_and_version(api: ApiServer) -> None:
    assert api.request("GET", "/readyz").body == "ok"
    version = api.ok("GET", "/version")
    assert (version["major"], version["minor"]) == ("1", "37")


def test_a_stranger_is_refused(api: ApiServer) -> None:
    connection = api.connection()
    connection.request("GET", "/api/v1/namespaces", headers={"Authorization": "Bearer no-such-token"})
    assert connection.getresponse().status == 401
    connection.close()
