"""What the audit log says of requests, answered and refused."""

from __future__ import annotations

import json
from typing import Any

from tests.contract.observed.observer import Observer, config_map, widget
from tests.servers import APPLY, JSON_PATCH, MERGE

AGENT = "observer/1.0"


class Auditor:
    """Notes the entry of each request that it sends."""

    def __init__(self, o: Observer) -> None:
        self._o = o
        self._start = o.api.audit.position()

    def entries(self) -> list[dict[str, Any]]:
        assert self._o.api.audit_log is not None
        with self._o.api.audit_log.open("rb") as file:
            file.seek(self._start)
            lines = file.read().split(b"\n")[:-1]
        return [json.loads(line) for line in lines if AGENT.encode() in line]

    def see(
        self, name: str, method: str, path: str, body: Any = None, media: str = "application/json", **headers: str
    ) -> None:
        before = len(self.entries())
        self._o.ask(method, path, body, media, User_Agent=AGENT, **headers)
        self._o.until(lambda: len(self.entries()) > before, f"an entry of {name}")
        told = self.entries()[before]
        times = [told.pop("requestReceivedTimestamp"), told.pop("stageTimestamp")]
        assert len(told.pop("auditID")) == 36
        assert times == sorted(times)
        assert all(len(time) == len("2026-01-01T00:00:00.000000Z") for time in times)
        self._o.see(f"audit-{name}", told)


def audit(o: Observer) -> None:
    a = Auditor(o)
    maps, one, w = o.configmaps, f"{o.configmaps}/a", f"{o.widgets}/w"
    a.see("create", "POST", maps, config_map("a"))
    a.see("create-generated", "POST", maps, {"metadata": {"generateName": "g-"}})
    a.see("create-again", "POST", maps, config_map("a"))
    a.see("create-invalid", "POST", o.widgets, widget("bad", color="pink"))
    a.see("create-widget", "POST", o.widgets, widget("w"))
    a.see("get", "GET", one)
    a.see("get-missing", "GET", f"{maps}/nope?pretty=false")
    a.see("list", "GET", f"{maps}?limit=1&labelSelector=a%3Db")
    a.see("list-everywhere", "GET", "/api/v1/configmaps?limit=1")
    a.see("list-one", "GET", f"{maps}?fieldSelector=metadata.name%3Da")
    a.see("watch", "GET", f"{maps}?watch=1&timeoutSeconds=1")
    a.see("watch-refused", "GET", f"{maps}?watch=1&resourceVersion=x")
    a.see("update", "PUT", one, o.get(one).body)
    a.see("update-stale", "PUT", w, {**widget("w"), "metadata": {"name": "w", "resourceVersion": "1"}})
    a.see("patch", "PATCH", one, {"data": {"a": "c"}}, MERGE)
    a.see("patch-json", "PATCH", one, [{"op": "test", "path": "/data/a", "value": "z"}], JSON_PATCH)
    a.see("apply", "PATCH", f"{maps}/b?fieldManager=m", config_map("b") | {"data": {}}, APPLY)
    a.see("patch-status", "PATCH", f"{w}/status", {"status": {"replicas": 1}}, MERGE)
    a.see("update-scale", "PUT", f"{w}/scale", {"metadata": {"name": "w"}, "spec": {"replicas": 2}})
    a.see("delete", "DELETE", one)
    a.see("delete-options", "DELETE", w, {"preconditions": {"uid": "1"}})
    a.see("delete-all", "DELETE", maps)
    a.see("namespace", "GET", f"/api/v1/namespaces/{o.namespace}")
    a.see("no-such-kind", "GET", o.widgets.replace("widgets", "gadgets"))
    a.see("no-such-page", "GET", "/nope")
    a.see("version", "GET", "/version?x=1")
    o.ask("GET", maps, User_Agent=AGENT, Authorization="Bearer no-such-token")
    a.see("after-a-stranger", "GET", "/version")
