"""Asks the adapters of in-house pods that run but are not ready why that is, so that a status can say it.

Kubelet knows only that a probe fails; the adapter knows that, say, the server answers its warm-up with 404. What a
replica says counts once it has said it twice in a row: the first tries of a normal start fail too.
"""

from __future__ import annotations

import asyncio
from itertools import islice

import aiohttp

from insource.env import Env
from insource.kube.cache import ChangeType
from insource.kube.resources import Key
from insource.kube.workqueue import Priority
from insource.reconciler.caches import PodView
from insource.reconciler.controller import Controller
from insource.reconciler.polling import adapter_state
from insource.reconciler.reconcile import Work
from insource.wire.headers import ADMIN_PORT

_EVERY_S = 3.0
_AT_ONCE = 32
"""Pods asked in one round: a thousand that start at once must not cost a thousand connections."""


class ReplicaPoller:
    """Follows `/state` of unready in-house pods."""

    def __init__(
        self, session: aiohttp.ClientSession, controller: Controller, env: Env, *, port: int = ADMIN_PORT
    ) -> None:
        self._session = session
        self._controller = controller
        self._clock = env.clock
        self._port = port
        self._unready: dict[Key, str] = {}
        """Pods to ask, in order, with what each said last."""
        for key in controller.caches.pods.keys():  # noqa: SIM118
            self._changed("ADDED", key, None, controller.caches.pods.get(key))
        controller.caches.pods.subscribe(self._changed)

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            await self._clock.sleep(_EVERY_S)
            await self.ask()

    async def ask(self) -> None:
        """One round."""
        if not self._unready:
            return
        await asyncio.gather(*(self._ask(key) for key in list(islice(self._unready, _AT_ONCE))))

    async def _ask(self, key: Key) -> None:
        before, view = self._unready.pop(key, None), self._controller.caches.pods.get(key)
        if before is None or view is None:
            return
        self._unready[key] = before  # asked last, so it goes to the end
        state = await adapter_state(self._session, view.address, self._port)
        if state is None or key not in self._unready:
            return
        self._unready[key] = state.message
        if state.message and state.message == before:
            self._note(key, view.deployment, f"not ready: {state.message}")

    def _changed(self, _change: ChangeType, key: Key, old: PodView | None, new: PodView | None) -> None:
        if new is not None and new.deployment and new.running and new.address and not new.ready:
            self._unready.setdefault(key, "")
            return
        self._unready.pop(key, None)
        view = new or old
        if view is not None:
            self._note(key, view.deployment, "")

    def _note(self, key: Key, deployment: str, message: str) -> None:
        if self._controller.observations.note_unready(key, message):
            self._controller.queue.add(Work("deployment", key.namespace, deployment), Priority.CHANGE)
