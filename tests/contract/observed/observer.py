"""Asks one API server and notes, by name, what it answered, without what differs from run to run."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tests.servers import APPLY, MERGE, STRATEGIC, Answer, ApiServer

GROUP = "demo.insource.dev"
API_VERSION = f"{GROUP}/v1alpha1"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
DEADLINE_S = 30.0
QUIET_S = 0.4
"""How long a stream must stay silent to be called open: a server that would say more says it at once."""
Object = dict[str, Any]

_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_VERSION = re.compile(r'(resourceVersion[\\": ]+)\d+')
_STORAGE_PREFIX = re.compile(r"Key: /[^/]+/")
_COUNTERS = (
    (re.compile(r"(old resource version: )\d+ \(\d+\)"), r"\1N (M)"),
    (re.compile(r"(ResourceVersion in record )\(\d+\)"), r"\1(N)"),
    (re.compile(r"(Too large resource version: \d+, current: )\d+"), r"\1N"),
)
_AGE = re.compile(r'"\d+s"')


def normal(value: Any, namespace: str) -> Any:
    """`value` as JSON data, with uids, times, ages, versions and the namespace's name replaced by fixed words."""
    text = json.dumps(value, sort_keys=True)
    text = _TIME.sub("<time>", _UID.sub("<uid>", text))
    text = _VERSION.sub(r"\1<rv>", text)
    text = _STORAGE_PREFIX.sub("Key: /registry/", text)
    text = _AGE.sub('"<age>"', text)
    for pattern, said in _COUNTERS:
        text = pattern.sub(said, text)
    return json.loads(text.replace(namespace, "sem"))


def owners(obj: Any) -> Any:
    """managedFields without times. In one order: the server's own goes by second, which a run may straddle."""
    if not isinstance(obj, dict) or "metadata" not in obj:
        return obj
    names = ("manager", "operation", "subresource", "fieldsV1")
    entries = [{k: entry[k] for k in names if k in entry} for entry in obj["metadata"].get("managedFields", [])]
    return sorted(entries, key=lambda entry: (entry["operation"], entry["manager"], entry.get("subresource", "")))


class Observer:
    """One namespace on one server. `see` notes an observation; each name is used once."""

    def __init__(self, api: ApiServer, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self.seen: dict[str, Any] = {}
        self.widgets = f"/apis/{API_VERSION}/namespaces/{namespace}/widgets"
        self.configmaps = f"/api/v1/namespaces/{namespace}/configmaps"
        self.secrets = f"/api/v1/namespaces/{namespace}/secrets"
        self.deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"

    def see(self, name: str, value: Any) -> None:
        assert name not in self.seen, f"{name} is observed twice"
        self.seen[name] = normal(value, self.namespace)

    # --- asking

    def ask(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **more: Any
    ) -> Answer:
        return self.api.request(method, path, body, content_type, **more)

    def get(self, path: str, **more: Any) -> Answer:
        return self.ask("GET", path, **more)

    def post(self, path: str, body: Any) -> Answer:
        return self.ask("POST", path, body)

    def put(self, path: str, body: Any) -> Answer:
        return self.ask("PUT", path, body)

    def merge(self, path: str, body: Any) -> Answer:
        return self.ask("PATCH", path, body, MERGE)

    def strategic(self, path: str, body: Any) -> Answer:
        return self.ask("PATCH", path, body, STRATEGIC)

    def delete(self, path: str, body: Any = None) -> Answer:
        return self.ask("DELETE", path, body)

    def apply(
        self, name: str, manager: str, spec: Object | None, *, force: bool = False, metadata: Object | None = None
    ) -> Answer:
        """Server-side apply of a Widget."""
        body: Object = {"apiVersion": API_VERSION, "kind": "Widget", "metadata": {"name": name, **(metadata or {})}}
        if spec is not None:
            body["spec"] = spec
        query = f"?fieldManager={manager}" + ("&force=true" if force else "")
        return self.ask("PATCH", f"{self.widgets}/{name}{query}", body, APPLY)

    def apply_status(self, name: str, manager: str, status: Object) -> Answer:
        body = {"apiVersion": API_VERSION, "kind": "Widget", "metadata": {"name": name}, "status": status}
        return self.ask("PATCH", f"{self.widgets}/{name}/status?fieldManager={manager}&force=true", body, APPLY)

    # --- waiting

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait for a condition. Raises AssertionError after half a minute."""
        end = time.monotonic() + DEADLINE_S
        while not true():
            assert time.monotonic() < end, f"{self.api}: {what} did not come about"
            time.sleep(0.05)

    def gone(self, path: str) -> bool:
        """Whether an object goes."""
        self.until(lambda: self.get(path).status == 404, f"the end of {path}")
        return True

    def settled(self, name: str) -> Object:
        """A Deployment whose controller has seen its last change and made all its pods."""

        def is_settled() -> bool:
            obj = self.get(f"{self.deployments}/{name}").body
            status = obj.get("status") or {}
            return (
                status.get("observedGeneration") == obj["metadata"]["generation"]
                and status.get("updatedReplicas", 0) == obj["spec"]["replicas"]
            )

        self.until(is_settled, f"a settled Deployment {name}")
        return dict(self.get(f"{self.deployments}/{name}").body)

    # --- watching

    def watch(
        self, path: str, events: int, *, accept: str = "application/json", act: Callable[[], None] | None = None
    ) -> list[Any]:
        """[HTTP status, `events` events..., then `EOF` if the server ends the stream or `open` if it says no more]."""
        connection = self.api.connection(DEADLINE_S)
        try:
            token = self.api.tokens["admin"]
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}", "Accept": accept})
            response = connection.getresponse()
            found: list[Any] = [response.status]
            if response.status != 200:
                return [*found, json.loads(response.read())]
            if act is not None:
                act()
            while True:
                if len(found) > events and connection.sock is not None:
                    connection.sock.settimeout(QUIET_S)
                line = response.readline()
                if not line:
                    return [*found, "EOF"]
                found.append(json.loads(line))
        except TimeoutError:
            return [*found, "open"]
        finally:
            connection.close()


def widget(name: str, /, **spec: Any) -> Object:
    return {"apiVersion": API_VERSION, "kind": "Widget", "metadata": {"name": name}, "spec": {"color": "red", **spec}}


def config_map(name: str, **more: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


def said(answer: Answer) -> list[Any]:
    """[status, body]."""
    return [answer.status, answer.body]


def spec_of(answer: Answer) -> list[Any]:
    """[status, spec], or the body if it has none."""
    body = answer.body
    return [answer.status, body["spec"] if isinstance(body, dict) and "spec" in body else body]


def short(events: list[Any]) -> list[Any]:
    """A watch's events as [type, [kind, name, a bookmark's annotations]]."""
    found = []
    for event in events:
        if not isinstance(event, dict) or "object" not in event or event.get("type") == "ERROR":
            found.append([event["type"], event] if isinstance(event, dict) and "type" in event else event)
            continue
        metadata = event["object"].get("metadata", {})
        marks = sorted(metadata.get("annotations", {}).items()) if event["type"] == "BOOKMARK" else None
        found.append([event["type"], [event["object"].get("kind"), metadata.get("name"), marks]])
    return found


def quoted(text: str) -> str:
    return quote(text)
