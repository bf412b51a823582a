"""From the world to Envoy: renders what changed, and takes away what went in the order that loses no request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from insource.domain.identity import gateway_token
from insource.env import Env
from insource.gateway.ads import Configuration
from insource.gateway.application import Applications
from insource.gateway.directory import Directory
from insource.gateway.paths import GatewayPaths
from insource.gateway.render import names
from insource.gateway.render.resources import render_deployment, render_key_list
from insource.gateway.snapshot import deployment_bytes, load_snapshot, save_snapshot
from insource.gateway.sources import Source
from insource.gateway.view import ClientKey, DeploymentKey, DeploymentView

SETTLE_S = 0.005
"""Changes that come together are rendered together."""
SNAPSHOT_SHARE = 50
"""Saving may take one part in this many of the time."""
POLL_S = 0.5
_log = structlog.get_logger(__name__)


class Publication:
    """What this gateway serves, and its way into Envoy and onto the disk."""

    def __init__(
        self,
        source: Source,
        configuration: Configuration,
        applications: Applications,
        paths: GatewayPaths,
        master: bytes,
        env: Env,
        active: Callable[[], Awaitable[dict[str, int]]],
        removed: Callable[[DeploymentKey], None],
    ) -> None:
        self._source = source
        self._configuration = configuration
        self._applications = applications
        self._paths = paths
        self._master = master
        self._env = env
        self._active = active
        self._removed = removed
        self._views: dict[DeploymentKey, DeploymentView] = {}
        self.directory = Directory()
        """Who answers to which name."""
        self._saved: dict[DeploymentKey, bytes] = {}
        """Each view as the snapshot has it: with many deployments, making all of them anew would stop the loop."""
        self._keys: tuple[ClientKey, ...] = ()
        self._tokens: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._removals: dict[DeploymentKey, asyncio.Task[None]] = {}
        self._unsaved = False
        self.complete = False
        """True once the whole world has been rendered, from its source or from the last snapshot."""
        self.fresh = False
        """True once it has been rendered from its source."""
        self.duplicate_secrets: tuple[str, ...] = ()

    def view(self, key: DeploymentKey) -> DeploymentView | None:
        """The deployment as it is served now."""
        return self._views.get(key)

    def set_master(self, master: bytes) -> None:
        """The master was rotated: every deployment's token is another."""
        self._master = master
        self._tokens.clear()
        for view in self._views.values():
            self._put(view)

    async def run(self) -> None:
        """Publish until cancelled."""
        self._resume()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._source.run(self._wake.set))
                tasks.create_task(self._publish())
                tasks.create_task(self._save())
        finally:
            for removal in self._removals.values():
                removal.cancel()
            await asyncio.gather(*self._removals.values(), return_exceptions=True)

    def _resume(self) -> None:
        """Serve what was served last, until the source knows better."""
        snapshot = load_snapshot(self._paths.snapshot)
        if snapshot is None:
            return
        for view in snapshot.deployments:
            self._put(view)
        self._put_keys(snapshot.keys)
        self.complete = True

    async def _publish(self) -> None:
        first = True
        while True:
            await self._wake.wait()
            await self._env.clock.sleep(SETTLE_S)
            self._wake.clear()
            if not self._source.synced():
                continue
            world = self._source.world
            dirty, world.dirty = world.dirty, set()
            if first:
                # What the snapshot knew and the world does not was removed while we were away.
                dirty |= set(self._views) | world.deployments()
                first = False
            if world.keys_dirty or not self.complete:
                world.keys_dirty = False
                self._publish_keys()
            for key in dirty:
                view = world.view(key)
                if view is None:
                    self._remove(key)
                elif view != self._views.get(key):
                    self._put(view)
            self.complete = self.fresh = True
            self._unsaved = True

    def _publish_keys(self) -> None:
        keys, duplicates = self._source.world.client_keys()
        if duplicates != self.duplicate_secrets:
            self.duplicate_secrets = duplicates
            _log.error("duplicate_client_keys", secrets=duplicates)
        self._put_keys(keys)

    def _put_keys(self, keys: tuple[ClientKey, ...]) -> None:
        self._keys = keys
        self.directory.set_keys(keys)
        self._configuration.put([render_key_list(keys)])

    def _put(self, view: DeploymentView) -> None:
        removal = self._removals.pop(view.key, None)
        if removal is not None:
            removal.cancel()
        namespace = view.key.namespace
        if namespace not in self._tokens:
            self._tokens[namespace] = gateway_token(self._master, namespace)
        resources = render_deployment(view, self._tokens[namespace], str(self._paths.hold_socket))
        self._views[view.key] = view
        self.directory.put(view)
        self._saved[view.key] = deployment_bytes(view)
        self._configuration.put(resources)
        self._applications.desire(view, resources)

    def _remove(self, key: DeploymentKey) -> None:
        view = self._views.pop(key, None)
        if view is None:
            return
        del self._saved[key]
        self.directory.remove(key)
        self._applications.forget(key)
        self._configuration.remove([(names.SCOPE, names.scope_name(key))])
        task = asyncio.get_running_loop().create_task(self._take_away(key, view.request_timeout_s))
        self._removals[key] = task

    async def _take_away(self, key: DeploymentKey, limit_s: float) -> None:
        """The rest, once nobody is sent there and nobody is there any more.

        Note: a request in flight whose cluster is gone cannot be retried.
        """
        clock = self._env.clock
        scope = (names.SCOPE, names.scope_name(key))
        deadline = clock.monotonic() + limit_s
        quiet = 0
        while clock.monotonic() < deadline and quiet < 2:
            await clock.sleep(POLL_S)
            if not self._configuration.connected or self._applications.acknowledged(scope) is not None:
                continue
            try:
                active = await self._active()
            except (OSError, TimeoutError):
                continue
            quiet = 0 if active.get(str(key)) else quiet + 1
        cluster = names.cluster_name(key)
        self._configuration.remove(
            [(names.CLUSTER, cluster), (names.ENDPOINTS, cluster), (names.ROUTES, names.routes_name(key))]
        )
        self._removals.pop(key, None)
        self._removed(key)

    async def _save(self) -> None:
        clock = self._env.clock
        while True:
            began = clock.monotonic()
            if self._unsaved:
                self._unsaved = False
                await asyncio.to_thread(save_snapshot, self._paths.snapshot, list(self._saved.values()), self._keys)
            await clock.sleep(max(0.2, SNAPSHOT_SHARE * (clock.monotonic() - began)))
