"""The embedded API server's HTTP skin over the store: what kubectl, helm, kopf and our own clients ask.

What it does not do it refuses with 501. Decides nothing about objects: see `store`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from aiohttp import web

from insource.local import apiserver_answers as answers
from insource.local import apiserver_requests as requests
from insource.local import discovery, events_alias, openapi
from insource.local.apiserver_answers import Form
from insource.local.apiserver_requests import Target
from insource.local.auth import API_AUDIENCE, Tokens, User
from insource.local.store import Store
from insource.local.store_errors import ApiError, Cause, Object, bad_request, invalid, unsupported
from insource.local.store_kinds import ResourceKind
from insource.local.watch import Watch

VERSION = {"major": "1", "minor": "37", "gitVersion": "v1.37.0+insource", "platform": "linux/amd64"}
BOOKMARK_EVERY_S = 60.0
PATIENCE_S = 5.0
"""How long a silent watch may not notice that its client has left."""
MAX_BODY_BYTES = 3 * 1024 * 1024
_STATELESS = ("tokenreviews", "selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews")
_REFUSED = ("exec", "attach", "portforward", "proxy", "eviction", "binding", "ephemeralcontainers", "finalize")


class PodLogs(Protocol):
    """Where the text of `kubectl logs` comes from. Raises ApiError (400: no such container, 404)."""

    def read(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        follow: bool,
        tail_lines: int | None,
        previous: bool,
        timestamps: bool,
        since_seconds: int | None,
    ) -> AsyncIterator[bytes]: ...


def create_app(store: Store, tokens: Tokens, logs: PodLogs | None = None) -> web.Application:
    """The server; `logs` None: pod logs answer 501. On shutdown it ends its watches."""
    server = _Server(store, tokens, logs)
    app = web.Application(client_max_size=MAX_BODY_BYTES, handler_args={"access_log": None})
    app.router.add_route("*", "/{path:.*}", server.handle)

    async def end_watches(_: web.Application) -> None:
        store.close()

    app.on_shutdown.append(end_watches)
    return app


@dataclass(frozen=True)
class _Call:
    """One authenticated request for a resource."""

    request: web.Request
    target: Target
    kind: ResourceKind
    form: Form
    query: Mapping[str, str]

    @property
    def validation(self) -> str:
        value = self.query.get("fieldValidation") or "Warn"
        if value not in ("Strict", "Warn", "Ignore"):
            text = f'Unsupported value: "{value}": supported values: "Ignore", "Strict", "Warn"'
            raise invalid("Options", "meta.k8s.io", "", [Cause("FieldValueNotSupported", text, "fieldValidation")])
        return value

    async def body(self) -> Any:
        raw = await self.request.read()
        media = self.request.headers.get("Content-Type", "")
        return requests.read_body(raw, media, self.validation, self.kind.kind)

    def writing(self) -> Object:
        """The options that every write takes."""
        agent = self.request.headers.get("User-Agent", "")
        return {
            "field_manager": requests.field_manager(self.query, agent),
            "field_validation": self.validation,
            "dry_run": requests.is_dry_run(self.query),
        }


class _Server:
    def __init__(self, store: Store, tokens: Tokens, logs: PodLogs | None) -> None:
        self._store = store
        self._tokens = tokens
        self._logs = logs
        self._verbs: dict[str, Callable[[_Call], Awaitable[web.StreamResponse]]] = {
            "GET": self._get,
            "POST": self._post,
            "PUT": self._put,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }

    def _now(self) -> datetime:
        return self._store.env.clock.now()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ApiError as error:
            return _json(error.status(), status=error.code)
        except web.HTTPRequestEntityTooLarge:
            text = f"the request body is larger than {MAX_BODY_BYTES} bytes"
            return _json(ApiError(413, "RequestEntityTooLarge", text).status(), status=413)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path in ("/healthz", "/readyz", "/livez") or path.startswith(("/livez/", "/readyz/")):
            return web.Response(text="ok")
        user = self._authenticated(request)
        if path == "/version":
            return _json(VERSION)
        target = requests.parse_path(path)
        if target is None:
            return self._described(request)
        if target.plural in _STATELESS:
            return await self._review(request, target, user)
        kind = self._store.kinds.find((target.group, target.plural))
        if kind is None or kind.version != target.version:
            return _no_page()
        if target.subresource in _REFUSED:
            raise unsupported(f"the subresource {target.subresource!r} of {kind.plural}")
        verb = self._verbs.get(request.method)
        if verb is None:
            raise unsupported(f"the method {request.method} on {kind.plural}")
        form = answers.accepted(request.headers.get("Accept", ""), request.query.get("includeObject", ""))
        return await verb(_Call(request, target, kind, form, request.query))

    def _authenticated(self, request: web.Request) -> User:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        found = self._tokens.user(token.strip(), [API_AUDIENCE]) if scheme.lower() == "bearer" else None
        if found is None:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        return found[0]

    # --- what is served

    def _described(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        served = discovery.groups(self._store.kinds)
        if request.method != "GET":
            return _no_page()
        if parts in (["api"], ["apis"]):
            chosen = [(pair, kinds) for pair, kinds in served.items() if (pair[0] == "") == (parts == ["api"])]
            if "apidiscovery.k8s.io" in request.headers.get("Accept", ""):
                return _tagged(request, discovery.aggregated(chosen), discovery.AGGREGATED)
            if parts == ["api"]:
                return _json({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
            return _json(discovery.group_list(pair for pair, _ in chosen))
        if parts == ["api", "v1"]:
            return _json(discovery.resource_list(("", "v1"), served[("", "v1")]))
        if parts[0] == "apis" and len(parts) == 2:
            pair = next((pair for pair in served if pair[0] == parts[1]), None)
            if pair is not None:
                return _json({"kind": "APIGroup", "apiVersion": "v1", **discovery.group_document(pair)})
        if parts[0] == "apis" and len(parts) == 3 and (parts[1], parts[2]) in served:
            return _json(discovery.resource_list((parts[1], parts[2]), served[(parts[1], parts[2])]))
        if parts == ["openapi", "v2"]:
            if "protobuf" not in request.headers.get("Accept", ""):
                raise unsupported("OpenAPI v2 as JSON: ask for /openapi/v3")
            return web.Response(body=openapi.V2_EMPTY, content_type=openapi.V2_MEDIA)
        if parts == ["openapi", "v3"]:
            return _tagged(request, openapi.index(served), "application/json")
        if parts[:2] == ["openapi", "v3"]:
            pair = ("", "v1") if parts[2:] == ["api", "v1"] else tuple(parts[3:])  # type: ignore[assignment]
            if pair in served:
                return _tagged(request, openapi.document(pair, served[pair]), "application/json")
        return _no_page()

    async def _review(self, request: web.Request, target: Target, user: User) -> web.StreamResponse:
        if request.method != "POST":
            raise unsupported(f"the method {request.method} on {target.plural}")
        body = requests.read_body(await request.read(), request.headers.get("Content-Type", ""), "Ignore", "Review")
        spec = (body.get("spec") if isinstance(body, dict) else None) or {}
        if target.plural == "tokenreviews":
            return _json(self._tokens.review(spec), status=201)
        version = f"{target.group}/{target.version}"
        answer: Object = {
            "apiVersion": version,
            "kind": discovery.REVIEWS[(target.group, target.version)][target.plural],
        }
        answer["metadata"] = {}
        if target.plural == "selfsubjectreviews":
            answer["status"] = {"userInfo": user.as_object()}
        elif target.plural == "selfsubjectaccessreviews":
            # No RBAC here: whoever has a token may do everything.
            answer.update(spec=spec, status={"allowed": True})
        else:
            everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            paths = {"verbs": ["*"], "nonResourceURLs": ["*"]}
            answer["spec"] = {}
            answer["status"] = {"resourceRules": [everything], "nonResourceRules": [paths], "incomplete": False}
        return _json(answer, status=201)

    # --- reading

    async def _get(self, call: _Call) -> web.StreamResponse:
        target, kind, store = call.target, call.kind, self._store
        if not target.name:
            return await self._collection(call)
        if target.subresource == "log" and "log" in kind.subresources:
            return await self._log(call)
        if target.subresource == "scale":
            return _json(store.scale(kind, target.namespace, target.name))
        if target.subresource not in ("", "status"):
            return _no_page()
        self._check_version(call.query.get("resourceVersion", ""))
        obj = events_alias.get(store, kind, target.namespace, target.name)
        return self._object(call, obj)

    async def _collection(self, call: _Call) -> web.StreamResponse:
        query, target = call.query, call.target
        selectors = {
            "label_selector": query.get("labelSelector", ""),
            "field_selector": query.get("fieldSelector", ""),
        }
        if "watch" in query and requests.is_true(query["watch"]):
            return await self._watch(call, selectors)
        version = query.get("resourceVersion", "")
        if query.get("resourceVersionMatch") and not version:
            text = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
            cause = Cause("FieldValueForbidden", text, "resourceVersionMatch")
            raise invalid("ListOptions", "meta.k8s.io", "", [cause])
        self._check_version(version)
        if query.get("resourceVersionMatch") == "Exact" and version != str(self._store.resource_version):
            raise unsupported("resourceVersionMatch=Exact of an older version")
        page = events_alias.list_page(
            self._store,
            call.kind,
            target.namespace,
            limit=requests.number(query, "limit") or 0,
            continue_=query.get("continue", ""),
            **selectors,
        )
        return _body(answers.many(call.kind, page, call.form, self._now()), call.form)

    def _check_version(self, version: str) -> None:
        """A read may not ask for a version that is still to come."""
        if version and not version.isdigit():
            raise bad_request(f"resourceVersion: Invalid value: {version!r}")
        if version and int(version) > self._store.resource_version:
            raise ApiError(
                504,
                "Timeout",
                f"Timeout: Too large resource version: {version}, current: {self._store.resource_version}",
                {
                    "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                    "retryAfterSeconds": 1,
                },
            )

    async def _watch(self, call: _Call, selectors: dict[str, str]) -> web.StreamResponse:
        query = call.query
        initial = requests.is_true(query.get("sendInitialEvents")) if "sendInitialEvents" in query else False
        if initial and query.get("resourceVersionMatch") != "NotOlderThan":
            text = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            raise invalid(
                "ListOptions", "meta.k8s.io", "", [Cause("FieldValueForbidden", text, "resourceVersionMatch")]
            )
        bookmarks = requests.is_true(query.get("allowWatchBookmarks")) if "allowWatchBookmarks" in query else False
        limit = requests.number(query, "timeoutSeconds")
        watch = events_alias.watch(
            self._store,
            call.kind,
            call.target.namespace,
            resource_version=query.get("resourceVersion", ""),
            initial_events=initial,
            **selectors,
        )
        try:
            return await self._stream(call, watch, bookmarks=bookmarks, limit_s=limit)
        finally:
            watch.close()

    async def _stream(self, call: _Call, watch: Watch, *, bookmarks: bool, limit_s: int | None) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        write = answers.event_writer(call.kind, call.form, self._now)
        loop = asyncio.get_running_loop()
        ends = loop.time() + limit_s if limit_s else None
        marked = loop.time()
        try:
            await response.prepare(call.request)
            while True:
                lines = [
                    write(events_alias.event(call.kind, event))
                    for event in watch.drain()
                    if event.type != "BOOKMARK" or bookmarks
                ]
                if lines:
                    await response.write(b"".join(lines))
                now = loop.time()
                if ends is not None and now >= ends:
                    break
                if bookmarks and now - marked >= BOOKMARK_EVERY_S:
                    marked = now
                    await response.write(write(self._store.bookmark(call.kind)))
                patience = PATIENCE_S if ends is None else min(PATIENCE_S, ends - now)
                try:
                    if not await asyncio.wait_for(watch.wait(), patience):
                        break
                except TimeoutError:
                    pass
                if call.request.transport is None or call.request.transport.is_closing():
                    break
            await response.write_eof()
        except ConnectionResetError:
            pass  # the client left
        return response

    async def _log(self, call: _Call) -> web.StreamResponse:
        if self._logs is None:
            raise unsupported("pod logs without a node")
        target, query = call.target, call.query
        pod = self._store.get(("", "pods"), target.namespace, target.name)
        containers = [item["name"] for item in pod["spec"].get("containers") or []]
        container = query.get("container") or ""
        if not container and len(containers) != 1:
            listed = " ".join(containers)
            raise bad_request(f"a container name must be specified for pod {target.name}, choose one of: [{listed}]")
        lines = self._logs.read(
            target.namespace or "",
            target.name,
            container or containers[0],
            follow=_flag(query, "follow"),
            tail_lines=requests.number(query, "tailLines"),
            previous=_flag(query, "previous"),
            timestamps=_flag(query, "timestamps"),
            since_seconds=requests.number(query, "sinceSeconds"),
        )
        # The first piece is asked for before the headers go out, so that a refusal is still a Status.
        first = await anext(lines, None)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        try:
            await response.prepare(call.request)
            if first is not None:
                await response.write(first)
                async for line in lines:
                    await response.write(line)
            await response.write_eof()
        except ConnectionResetError:
            pass
        finally:
            close = getattr(lines, "aclose", None)
            if close is not None:
                await close()
        return response

    # --- writing

    async def _post(self, call: _Call) -> web.StreamResponse:
        target = call.target
        if target.subresource == "token" and "token" in call.kind.subresources:
            body = await call.body()
            spec = (body.get("spec") if isinstance(body, dict) else None) or {}
            return _json(self._tokens.request(target.namespace or "", target.name, spec), status=201)
        if target.subresource:
            raise unsupported(f"POST on the subresource {target.subresource!r} of {call.kind.plural}")
        self._allowed(call, "create")
        body = await call.body()
        obj = events_alias.create(self._store, call.kind, body, target.namespace, **call.writing())
        return self._object(call, obj, status=201)

    async def _put(self, call: _Call) -> web.StreamResponse:
        target = call.target
        if not target.name:
            raise bad_request("name must be provided")
        self._allowed(call, "update")
        body = await call.body()
        obj = events_alias.update(
            self._store,
            call.kind,
            target.namespace,
            target.name,
            body,
            subresource=target.subresource,
            **call.writing(),
        )
        return self._written(call, obj)

    async def _patch(self, call: _Call) -> web.StreamResponse:
        target = call.target
        if not target.name:
            raise bad_request("name must be provided")
        self._allowed(call, "patch")
        media = call.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        form = requests.PATCH_TYPES.get(media)
        if form is None:
            listed = ", ".join(requests.PATCH_TYPES)
            text = f"the body of the request was in an unknown format - accepted media types include: {listed}"
            raise ApiError(415, "UnsupportedMediaType", text)
        raw = await call.request.read()
        patch = requests.read_body(raw, media, "Ignore", call.kind.kind)
        options = call.writing()
        if form == "apply":
            options["field_manager"] = call.query.get("fieldManager", "")
            options["force"] = _flag(call.query, "force")
        before = events_alias.find(self._store, call.kind, target.namespace, target.name)
        obj = events_alias.patch(
            self._store, call.kind, target.namespace, target.name, patch, form,
            subresource=target.subresource, **options,
        )  # fmt: skip
        return self._written(call, obj, status=201 if before is None else 200)

    async def _delete(self, call: _Call) -> web.StreamResponse:
        target, kind = call.target, call.kind
        raw = await call.request.read()
        media = call.request.headers.get("Content-Type", "")
        options = requests.read_body(raw, media, "Ignore", "DeleteOptions") if raw else {}
        if not isinstance(options, dict):
            raise bad_request("DeleteOptions must be an object")
        query = call.query
        grace = options.get("gracePeriodSeconds", requests.number(query, "gracePeriodSeconds"))
        propagation = options.get("propagationPolicy") or query.get("propagationPolicy") or ""
        if options.get("orphanDependents"):
            propagation = "Orphan"
        arguments: Object = {
            "propagation": propagation or "Background",
            "grace_period_seconds": grace,
            "dry_run": bool(options.get("dryRun")) or requests.is_dry_run(query),
        }
        store_kind = events_alias.stored(self._store, kind)
        if not target.name:
            self._allowed(call, "deletecollection")
            return self._delete_collection(call, store_kind, arguments)
        if target.subresource:
            raise unsupported(f"DELETE on the subresource {target.subresource!r} of {kind.plural}")
        self._allowed(call, "delete")
        obj = self._store.get(store_kind, target.namespace, target.name)
        left = self._store.delete(
            store_kind, target.namespace, target.name, preconditions=options.get("preconditions"), **arguments
        )
        if left is not None or kind.ref in (("", "pods"), ("", "services")):
            return self._object(call, left or obj)
        details: Object = {"name": target.name, "kind": kind.plural, "uid": obj["metadata"]["uid"]}
        if kind.group:
            details["group"] = kind.group
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return _json(status)

    def _delete_collection(self, call: _Call, kind: ResourceKind, arguments: Object) -> web.StreamResponse:
        query = call.query
        page = self._store.list(
            kind,
            call.target.namespace,
            label_selector=query.get("labelSelector", ""),
            field_selector=query.get("fieldSelector", ""),
        )
        for obj in page.items:
            metadata = obj["metadata"]
            if self._store.find(kind, metadata.get("namespace"), metadata["name"]) is not None:
                self._store.delete(kind, metadata.get("namespace"), metadata["name"], **arguments)
        return _body(answers.many(kind, page, call.form, self._now()), call.form)

    def _allowed(self, call: _Call, verb: str) -> None:
        if verb not in call.kind.verbs:
            raise unsupported(f"{verb} of {call.kind.plural}")

    def _written(self, call: _Call, obj: Object, status: int = 200) -> web.StreamResponse:
        if call.target.subresource == "scale":
            return _json(self._store.scale(call.kind, call.target.namespace, call.target.name))
        return self._object(call, obj, status=status)

    def _object(self, call: _Call, obj: Object, status: int = 200) -> web.StreamResponse:
        response = _body(answers.one(call.kind, obj, call.form, self._now()), call.form, status=status)
        if call.request.method in ("POST", "PUT", "PATCH"):
            for text in self._store.warnings:
                quoted = text.replace("\\", "\\\\").replace('"', '\\"')
                response.headers.add("Warning", f'299 - "{quoted}"')
        return response


def _flag(query: Mapping[str, str], name: str) -> bool:
    return name in query and requests.is_true(query[name])


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=answers.dump(value), status=status, content_type="application/json")


def _body(value: Any, form: Form, status: int = 200) -> web.Response:
    return web.Response(body=answers.dump(value, form), status=status, content_type=form.media)


def _tagged(request: web.Request, value: Any, media: str) -> web.Response:
    body = answers.dump(value)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"'
    headers = {"ETag": tag, "Vary": "Accept", "Content-Type": media}
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers={"ETag": tag, "Vary": "Accept"})
    return web.Response(body=body, headers=headers)


def _no_page() -> web.Response:
    return web.Response(text="404 page not found\n", status=404)
