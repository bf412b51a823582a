"""The program behind `insource cluster`: store, API server, controllers and node in one process.

Everything outside, our own operator included, talks to it by HTTP, as to any Kubernetes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import structlog
import yaml
from aiohttp import web

from insource.env import Env, system_env
from insource.local.apiserver import create_app
from insource.local.apiserver_audit import AuditLog
from insource.local.auth import Tokens, read_static_tokens, signing_key
from insource.local.controllers import controllers
from insource.local.images import ENVIRONMENT as IMAGES
from insource.local.images import ImageTable, parse_extra_images
from insource.local.node import Node, NodeSettings
from insource.local.objects import NAMESPACES, PODS
from insource.local.persistence import Persistence
from insource.local.pod_environment import ReferenceMissingError
from insource.local.pod_logs import LogQuery
from insource.local.rbac_defaults import apply_defaults
from insource.local.store import ApiError, Store
from insource.local.volumes import TokenIssuer, TokenRequest

NAMESPACES_AT_START = ("default", "kube-system", "insource-system")
CRDS = ("apiextensions.k8s.io", "customresourcedefinitions")
POD_GRACE_S = 10.0
"""What pods get to end when the cluster is stopped, whatever their own grace period."""


@dataclass(frozen=True)
class ClusterSettings:
    """What `insource cluster` is told."""

    data: Path
    run_dir: Path
    port: int
    """Of the API server; 0: the kernel chooses, the ready line says which."""
    tokens_file: Path
    crds: Path | None = None
    """Folder of CustomResourceDefinitions to apply at start."""
    host: str = "127.0.0.1"
    tls_certificate: Path | None = None
    """PEM certificate of the API server; None: plain HTTP, over which kubectl and helm send no token."""
    tls_key: Path | None = None
    audit_log: Path | None = None
    """Where each answered request is told; None: nowhere."""
    node_resources: Mapping[str, str] = field(default_factory=dict)
    node_labels: Mapping[str, str] = field(default_factory=dict)


async def run_cluster(settings: ClusterSettings) -> None:
    """Serve until SIGTERM or SIGINT, then end every pod's programs and leave. Raises OSError if the port is taken."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with cluster(settings, system_env()):
            await stop.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def cluster(settings: ClusterSettings, env: Env) -> AsyncIterator[tuple[Store, str]]:
    """A running cluster: its store and the API server's URL. Leaving the block stops all of it."""
    log = structlog.get_logger("cluster")
    images = ImageTable(parse_extra_images(os.environ.get(IMAGES, "")))
    store = Store(env)
    persistence = Persistence(store, settings.data / "store")
    persistence.open()
    tokens = Tokens(store, env, read_static_tokens(settings.tokens_file), signing_key(settings.data, env))
    apply_at_start(store, settings.crds)
    node = Node(
        store,
        NodeSettings(
            data=settings.data / "node",
            images=images,
            resources=settings.node_resources,
            labels=settings.node_labels,
        ),
        env,
        token_issuer(tokens),
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(persistence.close)
        audit = None
        if settings.audit_log is not None:
            audit = AuditLog(settings.audit_log, env)
            stack.callback(audit.close)
        app = create_app(store, tokens, NodeLogs(store, node, env), audit)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        tls = server_tls(settings)
        site = web.TCPSite(runner, settings.host, settings.port, ssl_context=tls)
        # Before anything is started: a port that is taken must leave no pod behind.
        await site.start()
        await stack.enter_async_context(node)
        work = controllers(store, env)
        stack.callback(work.close)
        task = asyncio.create_task(work.run())
        stack.push_async_callback(_end, task)
        # API server and controllers go on while the pods end: they tell the ledger, which asks us who they are.
        stack.push_async_callback(node.close, POD_GRACE_S)
        port = runner.addresses[0][1]
        url = f"{'http' if tls is None else 'https'}://{settings.host}:{port}"
        log.info("ready", url=url, pods=len(store.list(PODS).items))
        yield store, url
        log.info("stopping")


def server_tls(settings: ClusterSettings) -> ssl.SSLContext | None:
    """TLS as the settings say. Raises OSError or ssl.SSLError if the files do not fit."""
    if settings.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return context


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def apply_at_start(store: Store, crds: Path | None) -> None:
    """Namespaces and roles that must exist, every CRD in the folder. Raises ApiError, OSError naming what is wrong."""
    for name in NAMESPACES_AT_START:
        if store.find(NAMESPACES, None, name) is None:
            store.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    apply_defaults(store)
    for path in sorted(crds.glob("*.yaml")) if crds is not None else ():
        for document in yaml.safe_load_all(path.read_text()):
            if document and document.get("kind") == "CustomResourceDefinition":
                name = document["metadata"]["name"]
                store.patch(CRDS, None, name, document, "apply", field_manager="insource", force=True)


def token_issuer(tokens: Tokens) -> TokenIssuer:
    """How the node gets the tokens that it projects into pods."""

    def issue(request: TokenRequest) -> str:
        spec = {
            "audiences": [request.audience] if request.audience else [],
            "expirationSeconds": request.lifetime_s,
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": request.pod, "uid": request.pod_uid},
        }
        try:
            answer = tokens.request(request.namespace, request.service_account, spec)
        except ApiError as error:
            raise ReferenceMissingError(f"failed to fetch token: {error.message}") from error
        return str(answer["status"]["token"])

    return issue


class NodeLogs:
    """The API server's `PodLogs`, from the node's files."""

    def __init__(self, store: Store, node: Node, env: Env) -> None:
        self._store = store
        self._node = node
        self._env = env

    async def read(
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
    ) -> AsyncIterator[bytes]:
        """The lines of a container. Raises ApiError 404 (no such pod), 400 (no such container, or nothing yet)."""
        held = self._store.get(PODS, namespace, pod)
        logs = self._node.logs(held["metadata"]["uid"], container)
        path = logs.path(runs_back=1 if previous else 0) if logs is not None else None
        if logs is None or path is None:
            raise ApiError(400, "BadRequest", self._why_none(pod, container, logs is not None, previous=previous))
        since = self._env.clock.now() - timedelta(seconds=since_seconds) if since_seconds is not None else None
        query = LogQuery(follow=follow, tail=tail_lines, timestamps=timestamps, since=since)
        async for line in logs.read(path, query):
            yield line

    def _why_none(self, pod: str, container: str, known: bool, *, previous: bool) -> str:
        if previous and known:
            return f'previous terminated container "{container}" in pod "{pod}" not found'
        if known:
            return f'container "{container}" in pod "{pod}" is waiting to start'
        return f"container {container} is not valid for pod {pod}"
