"""The embedded API server's HTTP skin over the store: what kubectl, helm, kopf and our own clients ask.

What it does not do it refuses with 501. Decides nothing about objects: see `store`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial

import structlog
from aiohttp import web

from insource.local import apiserver_answers as answers
from insource.local import apiserver_requests as requests
from insource.local import events_alias, openapi
from insource.local.apiserver_audit import ACTING, DECISION, SENDER, STATUS, AuditLog
from insource.local.apiserver_authorization import Authorizer, refusal, request_of
from insource.local.apiserver_call import Call
from insource.local.apiserver_documents import as_form, as_json, described, no_page, refused
from insource.local.apiserver_reviews import STATELESS, review
from insource.local.apiserver_streams import PodLogs, stream_log, stream_watch
from insource.local.apiserver_users import acting, authenticated
from insource.local.auth import Tokens
from insource.local.list_options import ListOptions, check_version, is_true, list_options, whole_number
from insource.local.rbac import Request
from insource.local.scale import SCALE
from insource.local.store import Store
from insource.local.store_errors import ApiError, Object, bad_request, not_found, unsupported
from insource.local.store_kinds import ResourceKind

VERSION = {"major": "1", "minor": "37", "gitVersion": f"{openapi.VERSION}+insource", "platform": "linux/amd64"}
MAX_BODY_BYTES = 3 * 1024 * 1024
_log = structlog.get_logger("apiserver")
_REFUSED = ("exec", "attach", "portforward", "proxy", "eviction", "binding", "ephemeralcontainers")


def create_app(
    store: Store, tokens: Tokens, logs: PodLogs | None = None, audit: AuditLog | None = None
) -> web.Application:
    """The server; `logs` None: pod logs answer 501; `audit` None: nobody is told. On shutdown it ends its watches."""
    server = _Server(store, tokens, logs)
    middlewares = [audit.middleware()] if audit is not None else []
    app = web.Application(client_max_size=MAX_BODY_BYTES, handler_args={"access_log": None}, middlewares=middlewares)
    app.router.add_route("*", "/{path:.*}", server.handle)

    async def end_watches(_: web.Application) -> None:
        store.close()

    app.on_shutdown.append(end_watches)
    return app


def _has(kind: ResourceKind, subresource: str) -> bool:
    return {"status": kind.status_subresource, "scale": kind.scale is not None}.get(subresource, False)


class _Server:
    def __init__(self, store: Store, tokens: Tokens, logs: PodLogs | None) -> None:
        self._store = store
        self._tokens = tokens
        self._logs = logs
        self._authorizer = Authorizer(store)
        self._verbs: dict[str, Callable[[Call], Awaitable[web.StreamResponse]]] = {
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
            trouble = error
        except web.HTTPRequestEntityTooLarge:
            text = f"the request body is larger than {MAX_BODY_BYTES} bytes"
            trouble = ApiError(413, "RequestEntityTooLarge", text)
        except (web.HTTPException, ConnectionError):
            raise
        except Exception as error:
            _log.exception("a request failed", method=request.method, path=request.path)
            text = f"the embedded API server failed ({type(error).__name__}); its log says where"
            trouble = ApiError(500, "InternalError", text)
        request[STATUS] = trouble.status()
        return refused(request, trouble)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        asked = request_of(request.method, path, request.query)
        request[SENDER] = sender = authenticated(request, self._tokens)
        request[ACTING] = user = acting(request, asked, sender, self._authorizer)
        request[DECISION] = decision = self._authorizer.decide(user, asked)
        if not decision.allowed:
            raise refusal(user, asked, decision.reason)
        if path in ("/healthz", "/readyz", "/livez") or path.startswith(("/livez/", "/readyz/")):
            return web.Response(text="ok")
        if path == "/version":
            return as_json(VERSION)
        target = requests.parse_path(path)
        if target is None:
            return described(request, self._store.kinds)
        if target.plural in STATELESS:
            return await review(request, target, user, self._tokens, self._authorizer)
        kind = self._store.kinds.find((target.group, target.plural))
        if kind is None or kind.version != target.version:
            return no_page()
        if target.subresource in _REFUSED:
            raise unsupported(f"the subresource {target.subresource!r} of {kind.plural}")
        if kind.custom and target.subresource and not _has(kind, target.subresource):
            raise not_found(kind.plural, kind.group, target.name)
        verb = self._verbs.get(request.method)
        if verb is None:
            raise unsupported(f"the method {request.method} on {kind.plural}")
        form = answers.accepted(
            request.headers.get("Accept", ""), request.query.get("includeObject", ""), custom=kind.custom
        )
        require, guard = partial(self._authorizer.require, user), self._authorizer.guard(user, asked)
        return await verb(Call(request, target, kind, form, request.query, require, guard))

    # --- reading

    async def _get(self, call: Call) -> web.StreamResponse:
        target, kind, store = call.target, call.kind, self._store
        if not target.name:
            return await self._collection(call)
        if target.subresource == "log" and "log" in kind.subresources:
            return await stream_log(self._store, self._logs, call)
        if target.subresource == "scale":
            seen = answers.one(SCALE, store.scale(kind, target.namespace, target.name), call.form, self._now())
            return as_form(seen, call.form)
        if target.subresource not in ("", "status"):
            return no_page()
        self._check_version(call.query.get("resourceVersion", ""))
        obj = events_alias.get(store, kind, target.namespace, target.name)
        return self._object(call, obj)

    async def _collection(self, call: Call) -> web.StreamResponse:
        options = list_options(call.query)
        if options.watch:
            return await self._watch(call, options)
        self._check_version(options.resource_version)
        page = events_alias.list_page(
            self._store,
            call.kind,
            call.target.namespace,
            label_selector=options.label_selector,
            field_selector=options.field_selector,
            limit=options.limit,
            continue_=options.continue_,
            exact_version=options.exact_version,
        )
        return as_form(answers.many(call.kind, page, call.form, self._now()), call.form)

    def _check_version(self, version: str) -> None:
        """A read may not ask for a version that is still to come."""
        check_version(version)
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

    async def _watch(self, call: Call, options: ListOptions) -> web.StreamResponse:
        watch = events_alias.watch(
            self._store,
            call.kind,
            call.target.namespace,
            label_selector=options.label_selector,
            field_selector=options.field_selector,
            resource_version=options.resource_version,
            initial_events=bool(options.initial_events),
        )
        try:
            return await stream_watch(self._store, call, watch, bookmarks=options.bookmarks, limit_s=options.timeout_s)
        finally:
            watch.close()

    async def _post(self, call: Call) -> web.StreamResponse:
        target = call.target
        if target.subresource == "token" and "token" in call.kind.subresources:
            body = await call.body()
            spec = (body.get("spec") if isinstance(body, dict) else None) or {}
            return as_json(self._tokens.request(target.namespace or "", target.name, spec), status=201)
        if target.subresource:
            raise unsupported(f"POST on the subresource {target.subresource!r} of {call.kind.plural}")
        self._allowed(call, "create")
        body = await call.body()
        obj = events_alias.create(self._store, call.kind, body, target.namespace, **call.writing())
        return self._object(call, obj, status=201)

    async def _put(self, call: Call) -> web.StreamResponse:
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

    async def _patch(self, call: Call) -> web.StreamResponse:
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
            options["force"] = is_true(call.query.get("force"))
        before = events_alias.find(self._store, call.kind, target.namespace, target.name)
        if before is None and form == "apply" and not target.subresource:
            call.require(Request("create", target.group, target.plural, "", target.namespace or "", target.name))
        obj = events_alias.patch(
            self._store, call.kind, target.namespace, target.name, patch, form,
            subresource=target.subresource, **options,
        )  # fmt: skip
        return self._written(call, obj, status=201 if before is None else 200)

    async def _delete(self, call: Call) -> web.StreamResponse:
        target, kind = call.target, call.kind
        raw = await call.request.read()
        media = call.request.headers.get("Content-Type", "")
        options = requests.read_body(raw, media, "Ignore", "DeleteOptions") if raw else {}
        if not isinstance(options, dict):
            raise bad_request("DeleteOptions must be an object")
        query = call.query
        grace = options.get("gracePeriodSeconds", whole_number(query, "gracePeriodSeconds"))
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
        call.request[STATUS] = status
        return as_json(status)

    def _delete_collection(self, call: Call, kind: ResourceKind, arguments: Object) -> web.StreamResponse:
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
        return as_form(answers.many(kind, page, call.form, self._now()), call.form)

    def _allowed(self, call: Call, verb: str) -> None:
        if verb not in call.kind.verbs:
            raise unsupported(f"{verb} of {call.kind.plural}")

    def _written(self, call: Call, obj: Object, status: int = 200) -> web.StreamResponse:
        if call.target.subresource == "scale":
            return as_json(self._store.scale(call.kind, call.target.namespace, call.target.name))
        return self._object(call, obj, status=status)

    def _object(self, call: Call, obj: Object, status: int = 200) -> web.StreamResponse:
        response = as_form(answers.one(call.kind, obj, call.form, self._now()), call.form, status=status)
        if call.request.method in ("POST", "PUT", "PATCH"):
            for text in self._store.warnings:
                quoted = text.replace("\\", "\\\\").replace('"', '\\"')
                response.headers.add("Warning", f'299 - "{quoted}"')
        return response
