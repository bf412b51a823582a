"""Asks gateways what they have applied, and vendor adapters about credentials and models; only while it matters.

News makes the affected objects work again. One who does not answer is not news: what was known stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp
import structlog
from pydantic import ValidationError

from insource.env import Env
from insource.kube.resources import Key
from insource.kube.workqueue import Priority
from insource.reconciler.controller import Controller
from insource.reconciler.gateways import Gateways
from insource.reconciler.observations import awaits_gateways, unconfirmed
from insource.reconciler.reconcile import Work
from insource.wire.gateway import AdapterState, Applied, ModelsReport
from insource.wire.headers import ADMIN_PORT

_log = structlog.get_logger(__name__)
_TIMEOUT = aiohttp.ClientTimeout(total=3)
_SOON_S, _LATER_S = 0.2, 1.0
"""Between two questions about a deployment: while it is young, and when its gateway takes its time."""
_YOUNG_S = 2.0
_NAMES = 50
"""Deployments in one question: a URL has its limits."""
_VENDOR_UNRESOLVED_S, _VENDOR_RESOLVED_S = 1.0, 10.0


class GatewayPoller:
    """Asks every gateway's `/applied` about the ModelDeployments whose traffic is unconfirmed, while there are any."""

    def __init__(self, session: aiohttp.ClientSession, controller: Controller, env: Env, gateways: Gateways) -> None:
        self._session = session
        self._controller = controller
        self._clock = env.clock
        self._gateways = gateways
        self._waiting: dict[Key, float] = {}
        """Since when, in the order of arrival."""
        self._arrival = asyncio.Event()
        controller.subscribe(self._reconciled)

    def _reconciled(self, work: Work) -> None:
        if work.kind == "deployment":
            self.look_at(work.key)

    def look_at(self, key: Key) -> None:
        """A deployment may have changed: is it waiting for a gateway?"""
        deployment = self._controller.caches.deployments.get(key)
        observations = self._controller.observations
        if deployment is None or not awaits_gateways(deployment.status):
            observations.forget_deployment(key)
            self._waiting.pop(key, None)
        elif unconfirmed(deployment.status, observations.gateway_versions(key)):
            self._waiting.setdefault(key, self._clock.monotonic())
            self._arrival.set()
        else:
            self._waiting.pop(key, None)

    async def run(self) -> None:
        """Poll until cancelled."""
        everybody_due = 0.0
        while True:
            if not self._waiting:
                self._arrival.clear()
                await self._arrival.wait()
            await self._look()
            now = self._clock.monotonic()
            asked = [key for key, since in self._waiting.items() if now - since < _YOUNG_S or now >= everybody_due]
            if now >= everybody_due:
                everybody_due = now + _LATER_S
            if asked:
                await asyncio.gather(*(self._ask(url, sorted(map(str, asked))) for url in self._gateways.urls))
            for key in asked:
                self.look_at(key)
            await self._clock.sleep(_SOON_S)

    async def _look(self) -> None:
        await self._gateways.look()
        if self._controller.observations.note_gateways(self._gateways.awaited):
            # One that has left may have been the last that was waited for.
            for key in self._waiting:
                self._controller.queue.add(Work("deployment", key.namespace, key.name), Priority.CHANGE)

    async def _ask(self, url: str, names: list[str]) -> None:
        for start in range(0, len(names), _NAMES):
            asked = names[start : start + _NAMES]
            body = await _fetch(self._session, f"{url}/applied?{'&'.join(f'deployment={name}' for name in asked)}")
            if body is None:
                return
            versions = _versions(body)
            told = {name: versions.get(name, -1) for name in asked}
            for name in self._controller.observations.note_applied(url, told):
                namespace, _, deployment = name.partition("/")
                if self._controller.caches.deployments.get(Key(namespace, deployment)) is not None:
                    # Note: not as an edit: during a roll-out of many, a person's next edit goes first.
                    self._controller.queue.add(Work("deployment", namespace, deployment), Priority.CHANGE)


def _versions(body: bytes) -> dict[str, int]:
    try:
        return {name: item.version for name, item in Applied.model_validate_json(body).deployments.items()}
    except ValidationError:
        _log.warning("applied_not_understood")
        return {}


class VendorPoller:
    """Follows `/state` of every Vendor's adapters: each second while its credentials are not resolved."""

    def __init__(
        self, session: aiohttp.ClientSession, controller: Controller, env: Env, *, port: int = ADMIN_PORT
    ) -> None:
        self._session = session
        self._port = port
        self._controller = controller
        self._clock = env.clock
        self._due: dict[Key, float] = {}
        self._arrival = asyncio.Event()
        controller.caches.vendors.subscribe(lambda *_: self._arrival.set())

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            self._arrival.clear()
            vendors = set(self._controller.caches.vendors.keys())
            self._due = {key: due for key, due in self._due.items() if key in vendors}
            now = self._clock.monotonic()
            await asyncio.gather(*(self._ask(key) for key in sorted(vendors) if self._due.get(key, now) <= now))
            if not self._due:
                await self._arrival.wait()
            # Note: one that arrives meanwhile is asked within a second, with those that are due then.
            await self._clock.sleep(_VENDOR_UNRESOLVED_S)

    async def _ask(self, vendor: Key) -> None:
        controller = self._controller
        pods = controller.caches.pods
        addresses = [
            view.address
            for key in sorted(pods.members(("vendor", vendor.namespace, vendor.name)))
            if (view := pods.get(key)) is not None and view.running and view.address
        ]
        answers = [await adapter_state(self._session, address, self._port) for address in addresses]
        told = [answer for answer in answers if answer is not None and answer.credentials_resolved is not None]
        # All adapters mount the same Secret: one that lacks the key, or has words, is what a person must hear of.
        worst = min(told, key=lambda told: (told.credentials_resolved, not told.credentials_message), default=None)
        if worst is not None and controller.observations.note_credentials(
            vendor, worst.credentials_resolved, worst.credentials_message
        ):
            controller.queue.add(Work("vendor", vendor.namespace, vendor.name), Priority.EDIT)
            controller.vendor_users(vendor)
        report = _freshest(answers)
        if report is not None and controller.observations.note_models(vendor, report):
            controller.queue.add(Work("vendor", vendor.namespace, vendor.name), Priority.CHANGE)
        resolved = worst is not None and bool(worst.credentials_resolved)
        self._due[vendor] = self._clock.monotonic() + (_VENDOR_RESOLVED_S if resolved else _VENDOR_UNRESOLVED_S)


def _freshest(answers: Iterable[AdapterState | None]) -> ModelsReport | None:
    """Of several adapters' lists the latest, so that all who ask in turn see one; without any, why there is none."""
    reports = [answer.vendor_models for answer in answers if answer is not None and answer.vendor_models is not None]
    return max(reports, key=lambda report: (report.listed_at or 0, report.has_none, report.problem), default=None)


async def adapter_state(session: aiohttp.ClientSession, address: str, port: int = ADMIN_PORT) -> AdapterState | None:
    """What the adapter at an address says of itself; None if it does not answer, or not so that we understand it."""
    body = await _fetch(session, f"http://{address}:{port}/state")
    try:
        return None if body is None else AdapterState.model_validate_json(body)
    except ValidationError:
        _log.warning("state_not_understood")
        return None


async def _fetch(session: aiohttp.ClientSession, url: str) -> bytes | None:
    try:
        async with session.get(url, timeout=_TIMEOUT) as response:
            if response.status == 200:
                return await response.read()
            _log.debug("poll_refused", url=url, status=response.status)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        _log.debug("poll_failed", url=url, error=type(error).__name__)
    return None
