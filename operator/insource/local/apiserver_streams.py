"""The answers that last: watches and pod logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from aiohttp import web

from insource.local import apiserver_answers as answers
from insource.local import events_alias
from insource.local.apiserver_call import Call
from insource.local.list_options import is_true, whole_number
from insource.local.store import Store
from insource.local.store_errors import bad_request, unsupported
from insource.local.watch import Watch

BOOKMARK_EVERY_S = 60.0
PATIENCE_S = 5.0
"""How long a silent watch may not notice that its client has left."""


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


async def stream_watch(
    store: Store, call: Call, watch: Watch, *, bookmarks: bool, limit_s: int | None
) -> web.StreamResponse:
    """Writes a watch's events as they come, until its time is up, it is closed or the client has left."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    write = answers.event_writer(call.kind, call.form, store.env.clock.now)
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
                await response.write(write(store.bookmark(call.kind)))
            patience = PATIENCE_S if ends is None else min(PATIENCE_S, ends - now)
            if not await watch.wait(patience):
                break
            if call.request.transport is None or call.request.transport.is_closing():
                break
        await response.write_eof()
    except ConnectionResetError:
        pass  # the client left
    return response


async def stream_log(store: Store, logs: PodLogs | None, call: Call) -> web.StreamResponse:
    """A pod's log, as `kubectl logs` asks for it; empty before a node has the pod. Raises ApiError 501, 400, 404."""
    target, query = call.target, call.query
    pod = store.get(("", "pods"), target.namespace, target.name)
    containers = [item["name"] for item in pod["spec"].get("containers") or []]
    container = query.get("container") or ""
    if not container and len(containers) != 1:
        listed = " ".join(containers)
        raise bad_request(f"a container name must be specified for pod {target.name}, choose one of: [{listed}]")
    every = containers + [item["name"] for item in pod["spec"].get("initContainers") or []]
    if container and container not in every:
        raise bad_request(f"container {container} is not valid for pod {target.name}")
    if not pod["spec"].get("nodeName"):
        return web.Response(content_type="text/plain")
    if logs is None:
        raise unsupported("pod logs without a node")
    lines = logs.read(
        target.namespace or "",
        target.name,
        container or containers[0],
        follow=is_true(query.get("follow")),
        tail_lines=whole_number(query, "tailLines"),
        previous=is_true(query.get("previous")),
        timestamps=is_true(query.get("timestamps")),
        since_seconds=whole_number(query, "sinceSeconds"),
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
