"""Asks a vendor for its list of models, now and then: no attempt, no place in its limits for clients, nothing billed.

Whatever comes back, or does not, harms nobody: the last good list stays, and words say what is wrong. A key that may
not list models may still do all the rest, so a refusal here says nothing about the credentials.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice

import aiohttp
import structlog

from insource.adapter.dialects.exchange import PROXY_AUTHENTICATION, bearer, reason_of, wait_s
from insource.adapter.dialects.openai_models import MODELS, Listing, listing_of
from insource.adapter.settings import Patience, VendorSettings
from insource.adapter.vendor_way import VendorWay
from insource.env import Env
from insource.wire.gateway import ListedModel, ModelsReport

log = structlog.get_logger(__name__)
LARGEST_BYTES = 4 << 20
REPORTED_MOST = 128
_STALE_AFTER = 3
"""Rounds without a list that are worth words, where there was one before."""
_HAS_NONE = frozenset({404, 405, 501})
_REFUSALS = frozenset({401, 403, PROXY_AUTHENTICATION})


class _NoListError(Exception):
    """The text goes on from the vendor's name."""

    def __init__(self, words: str, status: int = 0, again_s: float = 0.0) -> None:
        super().__init__(words)
        self.status = status
        self.again_s = again_s


class VendorModels:
    """The vendor's list as it last was, level-triggered: each question decides anew."""

    def __init__(
        self,
        settings: VendorSettings,
        session: aiohttp.ClientSession,
        way: VendorWay,
        key: Callable[[], str],
        env: Env,
        patience: Patience,
    ) -> None:
        """`key` returns the present API key."""
        self._settings = settings
        self._session = session
        self._way = way
        self._key = key
        self._env = env
        self._patience = patience
        self._listing: Listing | None = None
        self._listed_at = 0
        self._failures = 0
        self._problem = ""
        self._status = 0
        self._refused: tuple[str, str] | None = None
        """The credentials that were refused, or missing; others are tried at once."""

    def report(self, used: frozenset[str]) -> ModelsReport:
        """What the last list says of the models in `used`, and of others with a day; the soonest, if they are many."""
        listing = self._listing
        if listing is None:
            return ModelsReport(has_none=self._status in _HAS_NONE, problem=self._problem)
        days = listing.days
        known = sorted(name for name in used if name in days or listing.whole)
        others = (name for name in listing.dated if name not in used)
        chosen = sorted([*known, *islice(others, REPORTED_MOST)][:REPORTED_MOST])
        models = (ListedModel(id=name, listed=name in days, shutdown_date=days.get(name, "")) for name in chosen)
        stale = self._failures >= _STALE_AFTER
        problem = self._problem if stale or not self._failures else ""
        return ModelsReport(models=tuple(models), listed_at=self._listed_at, problem=problem)

    async def run(self) -> None:
        """Ask until cancelled."""
        clock, patience = self._env.clock, self._patience
        due = clock.monotonic() + patience.models_first_s * self._env.rng.uniform(0.5, 1.0)
        while True:
            await clock.sleep(patience.probe_every_s)
            if clock.monotonic() >= due or self._refused not in (None, self._shown()):
                due = clock.monotonic() + await self.ask()

    async def ask(self) -> float:
        """Ask once; in how many seconds to ask again."""
        patience, shown = self._patience, self._shown()
        if not shown[0] or self._way.credentials_missing or self._way.authorities_problem:
            self._refused = shown
            return patience.models_again_s
        self._refused = None
        again_s, status = 0.0, 0
        try:
            listing = await self._fetch(shown[0])
        except _NoListError as problem:
            words, status, again_s = str(problem), problem.status, problem.again_s
        except TimeoutError:
            words = f"gives no whole list of models within {patience.models_timeout_s:g} s"
        except (aiohttp.ClientError, OSError) as problem:
            status = getattr(problem, "status", 0)
            words = f"cannot be asked for its list of models ({reason_of(problem)})"
        except Exception as problem:
            # Note: a defect met in what a stranger sent must not end an adapter that serves. No traceback: its frames
            # hold the key.
            log.error("models_broke", problem=type(problem).__name__)
            words = "sends a list of models that breaks its reader"
        else:
            self._listing, self._listed_at = listing, int(self._env.clock.now().timestamp())
            self._failures, self._status = 0, 0
            self._tell(listing.problem)
            return patience.models_every_s * self._env.rng.uniform(0.8, 1.2)
        self._failures += 1
        self._status = status
        self._refused = shown if status in _REFUSALS else None
        self._tell(words)
        backoff_s = patience.models_again_s * 2.0 ** min(self._failures - 1, 20) * self._env.rng.uniform(0.8, 1.2)
        return min(max(backoff_s, again_s), patience.models_every_s)

    async def _fetch(self, key: str) -> Listing:
        way = self._way.now()
        async with (
            asyncio.timeout(self._patience.models_timeout_s),
            self._session.get(
                self._settings.endpoint + MODELS,
                headers={**bearer(key), "accept": "application/json"},
                allow_redirects=False,
                proxy=way.proxy,
                proxy_headers=way.proxy_headers,
                ssl=way.tls or True,
            ) as answer,
        ):
            if answer.status != 200:
                again_s = wait_s(answer.headers, self._env) if answer.status == 429 else 0.0
                raise _NoListError(_words_for(answer.status), answer.status, again_s)
            content = bytearray()
            async for piece in answer.content.iter_any():
                content += piece
                if len(content) > LARGEST_BYTES:
                    raise _NoListError(f"sends a list of models of more than {LARGEST_BYTES >> 20} MiB")
        try:
            listing = listing_of(bytes(content))
        except ValueError:
            raise _NoListError("sends something else than a list of models") from None
        if any(key in name for name in listing.days):  # ids are shown to everybody
            raise _NoListError("sends the key back as the name of a model")
        return listing

    def _shown(self) -> tuple[str, str]:
        return self._key(), self._way.shown()

    def _tell(self, words: str) -> None:
        problem = f"the vendor {self._settings.vendor} {words}" if words else ""
        if problem and problem != self._problem:
            log.warning("models_not_listed", problem=problem)
        elif self._problem and not problem:
            log.info("models_listed", count=len(self._listing.days) if self._listing else 0)
        self._problem = problem


def _words_for(status: int) -> str:
    if status in _HAS_NONE:
        return f"has no list of models (it answers {status})"
    if status in _REFUSALS:
        return f"does not let this key list its models (it answers {status})"
    return f"answers {status} when it is asked for its models"
