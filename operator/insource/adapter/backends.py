"""The two sides an adapter can have: the model server in its own pod, or a vendor. Same face to the request handler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar

import aiohttp
from pydantic import ValidationError

from insource.adapter.admission import Admission, RequestWindow
from insource.adapter.attempts import Attempt
from insource.adapter.calls import PodCalls, SessionCalls
from insource.adapter.dialects.openai import openai_dialects
from insource.adapter.dialects.seam import Dialects
from insource.adapter.dialects.vendors import vendor_dialects
from insource.adapter.ledger import LedgerAway, LedgerClient, RecordRejected
from insource.adapter.pod_http import PodServer
from insource.adapter.refusals import (
    PROXY_CREDENTIALS,
    Refusal,
    refused_credentials,
    refused_policy,
    refused_proxy,
    server_failure,
    unrecorded,
)
from insource.adapter.routes import InHouseRoutes, Route, Routes, VendorAdapterRoutes
from insource.adapter.server_watch import ServerWatch
from insource.adapter.settings import InHouseSettings, Patience, VendorSettings
from insource.adapter.vendor_models import VendorModels
from insource.adapter.vendor_way import VendorWay
from insource.adapter.wal import WriteAheadLog
from insource.adapter.warmup import WARM_UP_PATHS, WARM_UP_WORK, warm_up
from insource.adapter.watched_file import WatchedFile, bearer
from insource.env import Env
from insource.wire.gateway import ModelsReport
from insource.wire.records import Estimate, ReservationRequest
from insource.wire.vocabulary import LISTS_MODELS, Outcome, Role, Unit

A = TypeVar("A")


class Backend(Protocol):
    """What the request handler needs of either side."""

    routes: Routes
    admission: Admission
    dialects: Dialects

    @property
    def ready(self) -> bool:
        """Whether the gateway should send work."""
        ...

    @property
    def problem(self) -> str:
        """Why it is not ready, empty if there is nothing to say."""
        ...

    @property
    def credentials(self) -> tuple[bool | None, str]:
        """Whether they are resolved (None: none are needed), and why not."""
        ...

    @property
    def models(self) -> ModelsReport | None:
        """What a vendor's own list of models says; None: there is no such thing."""
        ...

    def check(self) -> None:
        """Raise a refusal that is known before the body is read."""
        ...

    async def permit(self, attempt: Attempt, most: Mapping[Unit, int]) -> None:
        """The last gate before the call: durability and budget for at most this much work. Raises a refusal."""
        ...

    def call(self, asking: AbstractAsyncContextManager[A], scope: asyncio.Timeout) -> AbstractAsyncContextManager[A]:
        """Call the backend by its dialect; `scope` may be cut short when it is known not to answer."""
        ...

    def request_model(self, route: Route) -> str:
        """The backend's name for the model."""
        ...

    async def run(self) -> None:
        """Background work, until cancelled."""
        ...


class InHouse:
    """The model server of this pod: watched, warmed up, never asked for credentials. The log is not synced."""

    def __init__(self, settings: InHouseSettings, session: aiohttp.ClientSession, env: Env, patience: Patience) -> None:
        self._settings = settings
        self._env = env
        self.routes: Routes = InHouseRoutes(settings)
        self.admission = Admission(settings.slots)
        self._server = PodServer(settings.server_url)

        def calls(path: str) -> PodCalls:
            return PodCalls(self._server, path, SessionCalls(settings.server_url + path, session))

        self.dialects = openai_dialects(calls, env)
        warm_up_s = patience.deadline_s(WARM_UP_WORK.get(settings.modality, {}))
        self._watch = ServerWatch(settings.server_health_url, self._warm_up, session, env, patience, warm_up_s)

    @property
    def ready(self) -> bool:
        """Warm and healthy."""
        return self._watch.ready

    @property
    def problem(self) -> str:
        """What the server lacks, with what it was asked for."""
        found = self._watch.problem
        path = WARM_UP_PATHS[self._settings.modality]
        asked = f'asked for model "{self._settings.request_model}" at {self._settings.server_url}{path}'
        return f"{found} ({asked})" if found and "warm-up" in found else found

    @property
    def credentials(self) -> tuple[bool | None, str]:
        """There are none."""
        return None, ""

    @property
    def models(self) -> ModelsReport | None:
        """It is no vendor."""
        return None

    def check(self) -> None:
        """Refuse while the server is silent."""
        self._watch.check()

    async def permit(self, attempt: Attempt, most: Mapping[Unit, int]) -> None:
        """In-house work needs no permission, and its record survives a killed process as it is."""

    @asynccontextmanager
    async def call(self, asking: AbstractAsyncContextManager[A], scope: asyncio.Timeout) -> AsyncIterator[A]:
        """Call the server; cut when it stalls."""
        self._watch.cut_when_stalled(scope)
        try:
            async with asking as answer:
                yield answer
        finally:
            self._watch.spare(scope)

    def request_model(self, route: Route) -> str:  # noqa: ARG002
        """The name that the server was started with."""
        return self._settings.request_model

    async def run(self) -> None:
        """Watch the server."""
        try:
            await self._watch.run()
        finally:
            self._server.close()

    async def _warm_up(self) -> None:
        settings = self._settings
        await warm_up(self.dialects, settings.modality, settings.request_model, f"probe-{self._env.ids.uuid()}")


class Vendor:
    """A vendor: its key, its limits, the spill cap; each attempt is on disk, synced, before the call."""

    def __init__(
        self,
        settings: VendorSettings,
        session: aiohttp.ClientSession,
        wal: WriteAheadLog,
        ledger: LedgerClient,
        env: Env,
        patience: Patience,
    ) -> None:
        self._settings = settings
        self._wal = wal
        self._ledger = ledger
        self._patience = patience
        self._key: WatchedFile[str] = WatchedFile(
            settings.key_file, bearer, "", env.clock, patience.look_at_files_every_s
        )
        self._refused_key = ""
        self._vendor_routes = VendorAdapterRoutes(settings, env.clock, patience.look_at_files_every_s)
        self.routes: Routes = self._vendor_routes
        self.admission = Admission(settings.concurrency)
        self._window = RequestWindow(settings.requests_per_minute, env)
        self._way = VendorWay(settings, env.clock, patience.look_at_files_every_s)

        def calls(path: str) -> SessionCalls:
            return SessionCalls(settings.endpoint + path, session, self._way.now)

        self.dialects = vendor_dialects(
            settings.dialect,
            calls,
            env,
            self._key.value,
            endpoint=settings.endpoint,
            api_version=settings.api_version,
        )
        self._models: VendorModels | None = None
        if settings.dialect in LISTS_MODELS:
            self._models = VendorModels(settings, session, self._way, self._key.value, env, patience)

    @property
    def ready(self) -> bool:
        """All that a call needs is there. A key that the vendor refused stays ready: only the next attempt can tell."""
        return (
            bool(self._key.value())
            and not self._vendor_routes.error
            and not self._way.credentials_missing
            and not self._way.authorities_problem
        )

    @property
    def problem(self) -> str:
        """What is missing beside its credentials."""
        return self._way.authorities_problem

    @property
    def credentials(self) -> tuple[bool | None, str]:
        """Whether there is a key that the vendor has not refused, and the same for its proxy."""
        key = self._key.value()
        if not key:
            return False, (
                f"Secret {self._settings.secret} is missing, empty or no key of one word; create it with the API key "
                f"of the vendor {self._settings.vendor}"
            )
        if key == self._refused_key:
            return False, (
                f"The vendor {self._settings.vendor} refuses the key in Secret {self._settings.secret} (401 or 403); "
                "replace it"
            )
        problem = self._way.credentials_problem
        if not problem and self._key.error:
            return True, (
                f"Secret {self._settings.secret} holds no key of one word any more: the last good one is used until "
                "the adapter is started anew; replace it"
            )
        return not problem, problem

    @property
    def models(self) -> ModelsReport | None:
        """What the vendor's list says of the models in use here, and of those that it will shut down."""
        return self._models.report(self._vendor_routes.models()) if self._models else None

    def check(self) -> None:
        """Refuse without a key, or past the vendor's limits."""
        if not self._key.value():
            raise refused_credentials("This deployment's vendor has no credentials.")
        if self._way.credentials_missing:
            raise refused_proxy("The proxy on the way to this deployment's vendor has no credentials.")
        if self._way.authorities_problem:
            raise server_failure("This deployment's vendor cannot be trusted yet.", reason="ca_bundle")
        self._window.check()

    async def permit(self, attempt: Attempt, most: Mapping[Unit, int]) -> None:
        """Reserve budget for a capped spill, count the request, and put the attempt on disk."""
        if attempt.role is Role.SPILL and attempt.route.spill_daily_limit:
            await self._reserve(attempt, most)
        self._window.take()
        try:
            await self._wal.synced(attempt.identity.attempt_id)
        except OSError as problem:
            raise unrecorded() from problem

    async def _reserve(self, attempt: Attempt, most: Mapping[Unit, int]) -> None:
        route = attempt.route
        (unit, quantity), *more = most.items()
        try:
            answer = await self._ledger.reserve(
                ReservationRequest(
                    attempt_id=attempt.identity.attempt_id,
                    deployment=attempt.identity.deployment,
                    backend=route.backend,
                    vendor=route.vendor,
                    model=route.model,
                    daily_limit=route.spill_daily_limit,
                    unit=unit,
                    quantity=quantity,
                    more=tuple(Estimate(unit=unit, quantity=quantity) for unit, quantity in more),
                ),
                self._patience.reservation_s,
            )
        except (LedgerAway, RecordRejected, ValidationError) as problem:
            raise refused_policy(
                "The daily limit of spill cannot be checked at present, so nothing is sent to the vendor.",
                reason="ledger_unreachable",
            ) from problem
        if not answer.granted:
            raise refused_policy(
                f"The daily limit of {route.spill_daily_limit} for spill to the vendor does not allow this request "
                f"({answer.reason}).",
                reason=answer.reason or "daily_limit",
            )

    @asynccontextmanager
    async def call(
        self,
        asking: AbstractAsyncContextManager[A],
        scope: asyncio.Timeout,  # noqa: ARG002
    ) -> AsyncIterator[A]:
        """Call the vendor, and learn from how it refuses."""
        key, shown = self._key.value(), self._way.shown()
        try:
            async with asking as answer:
                if self._refused_key == key:
                    self._refused_key = ""
                self._way.proxy_accepts(shown)
                yield answer
        except Refusal as refusal:
            if refusal.reason == PROXY_CREDENTIALS:
                self._way.proxy_refuses(shown)
            elif refusal.outcome is Outcome.REFUSED_CREDENTIALS:
                self._refused_key = key
            elif refusal.outcome is Outcome.SHED and refusal.retry_after_s:
                self._window.close_for(refusal.retry_after_s)
            raise

    def request_model(self, route: Route) -> str:
        """The vendor's model id."""
        return route.model

    async def run(self) -> None:
        """Ask for its list of models now and then. Nothing else: a vendor is asked only when it is paid."""
        if self._models is None:
            await asyncio.Event().wait()
        else:
            await self._models.run()
