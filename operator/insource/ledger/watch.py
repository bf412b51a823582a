"""Keeps allocations and prices level with the cluster; what to record is decided in `allocations` and `prices`.

Level-triggered: every change, and every heartbeat, brings all rows level with what is there now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from insource.api import meta
from insource.env import Env
from insource.kube import resources
from insource.kube.client import Client
from insource.kube.informer import Informer, InformerOptions
from insource.ledger.allocations import ClassPrice, PodFacts, read_class, read_pod, record_class_price, record_pods
from insource.ledger.prices import DEFAULT_CURRENCY, StoredPrice, read_book
from insource.ledger.store import Store

_log = structlog.get_logger(__name__)

HEARTBEAT_S = 10.0

Book = tuple[str, tuple[StoredPrice, ...], tuple[str, ...]]
"""A price book's name, its entries, and what is wrong with the rest."""
Reference = tuple[tuple[str, str], tuple[str, str] | None]
References = dict[tuple[str, str], tuple[str, str]]
"""(namespace, deployment) -> the (vendor, model) that its cost is compared with."""


class Watch:
    """`run` until cancelled. `references` is what deployments name as their spill vendor, as last seen."""

    def __init__(self, client: Client, store: Store, env: Env, currency: str = DEFAULT_CURRENCY) -> None:
        self._store = store
        self._clock = env.clock
        self._pods: Informer[PodFacts] = Informer(
            client, resources.PODS, env, read_pod, InformerOptions(labels=meta.LABEL_BACKEND)
        )
        self._classes: Informer[ClassPrice] = Informer(client, resources.ACCELERATOR_CLASSES, env, read_class)
        self._books: Informer[Book] = Informer(
            client, resources.PRICE_BOOKS, env, lambda book: _read_book(book, currency)
        )
        self._deployments: Informer[Reference] = Informer(client, resources.MODEL_DEPLOYMENTS, env, _read_reference)
        self._changed = asyncio.Event()
        self._seen: set[str] = set()
        self._recorded_books: dict[str, Book] = {}
        for cache in (self._pods.cache, self._classes.cache, self._books.cache):
            cache.subscribe(self._on_change)

    @property
    def references(self) -> References:
        return {key: compared for key, compared in self._deployments.cache.values() if compared is not None}

    async def run(self) -> None:
        """Follow the cluster for ever; what cannot be recorded now is recorded at the next heartbeat."""
        async with asyncio.TaskGroup() as tasks:
            for informer in (self._pods, self._classes, self._books, self._deployments):
                tasks.create_task(informer.run())
            tasks.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self._record()
            except Exception as error:
                _log.exception("allocations_not_recorded", error=type(error).__name__)
            await self._wait()

    async def _wait(self) -> None:
        waits = (asyncio.create_task(self._changed.wait()), asyncio.create_task(_sleep(self._clock)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _record(self) -> None:
        # Note: each only after its first whole list; before it, what is missing would look deleted.
        if self._classes.cache.synced.is_set():
            prices, now_ms = tuple(self._classes.cache.values()), self._store.now_ms()
            await self._store.write(
                lambda connection: [record_class_price(connection, price, now_ms=now_ms) for price in prices]
            )
        if self._books.cache.synced.is_set():
            await self._record_books()
        if self._pods.cache.synced.is_set():
            pods, seen, now_ms = tuple(self._pods.cache.values()), frozenset(self._seen), self._store.now_ms()
            await self._store.write(lambda connection: record_pods(connection, pods, seen, now_ms=now_ms))
            self._seen = {pod.uid for pod in pods}

    async def _record_books(self) -> None:
        books = {book[0]: book for book in self._books.cache.values()}
        for name, book in books.items():
            if self._recorded_books.get(name) == book:
                continue
            for problem in book[2]:
                _log.warning("price_entry_unreadable", problem=problem)
            await self._store.record_book(name, book[1])
        for name in await self._store.books() - books.keys():
            await self._store.record_book(name, ())
        self._recorded_books = books

    def _on_change(self, _change: str, _key: object, old: Any, new: Any) -> None:
        if old != new:  # a status of a class, say, is nothing to us
            self._changed.set()


async def _sleep(clock: Any) -> None:
    await clock.sleep(HEARTBEAT_S)


def _read_book(book: Mapping[str, Any], currency: str) -> Book:
    entries, problems = read_book(book, currency)
    return book["metadata"]["name"], tuple(entries), tuple(problems)


def _read_reference(deployment: Mapping[str, Any]) -> Reference:
    metadata = deployment["metadata"]
    return (metadata.get("namespace", ""), metadata["name"]), reference_of(deployment)


def reference_of(deployment: Mapping[str, Any]) -> tuple[str, str] | None:
    """The vendor and model to compare a ModelDeployment with: its spill backend, else its first vendor backend."""
    spec = deployment.get("spec", {})
    vendors = {b.get("name"): b["vendor"] for b in spec.get("backends", ()) if b.get("vendor")}
    spill = (spec.get("traffic", {}).get("spill") or {}).get("backend")
    chosen = vendors.get(spill) or next(iter(vendors.values()), None)
    return (chosen["name"], chosen.get("model", "")) if chosen else None
