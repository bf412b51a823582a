"""One delta xDS stream's conversation: what Envoy asked for, has, and must still be sent. No gRPC, no I/O.

Rules that Envoy's behaviour dictates (found by observation, tested against the real one):
* versions are content hashes, so `initial_resource_versions` tells what a reconnecting Envoy need not be sent;
* a wildcard subscription is answered even if there is nothing, or Envoy waits;
* a name that does not exist is answered as removed;
* a batch that is refused is sent again one by one, so that one bad resource does not hold up the others;
* a cluster is not removed before the scopes that lead to it are: requests would meet 503 in between.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from envoy.service.discovery.v3 import discovery_pb2

from insource.gateway.application import Identity
from insource.gateway.render import names
from insource.gateway.render.resources import Resource

ORDER = (names.CLUSTER, names.ENDPOINTS, names.ROUTES, names.SCOPE, names.EXTENSION)
"""Make before break: what is referred to comes before what refers to it."""
WILDCARD = frozenset({names.CLUSTER, names.SCOPE})
BATCH = 500

Resources = dict[str, dict[str, Resource]]
"""Type URL -> name -> resource."""


class Observer(Protocol):
    """Who is told what Envoy holds."""

    def holds(self, held: dict[Identity, str]) -> None: ...
    def acknowledge(self, identities: dict[Identity, str], removed: Iterable[Identity]) -> None: ...
    def refuse(self, identity: Identity, text: str) -> None: ...


@dataclass
class _Sent:
    type_url: str
    versions: dict[str, str]
    removed: list[str]


@dataclass
class _Kind:
    """The state of one type on this stream."""

    known: dict[str, str] = field(default_factory=dict)
    subscribed: set[str] = field(default_factory=set)
    dirty: set[str] = field(default_factory=set)
    alone: list[str] = field(default_factory=list)
    opened: bool = False
    owes_answer: bool = False


class DeltaStream:
    """The server's side of one stream."""

    def __init__(self, resources: Resources, observer: Observer) -> None:
        self._resources = resources
        self._observer = observer
        self._kinds = {type_url: _Kind() for type_url in ORDER}
        self._in_flight: dict[str, _Sent] = {}
        self._nonces = itertools.count(1)

    def mark(self, type_url: str, name: str) -> None:
        """A resource changed, appeared or went."""
        self._kinds[type_url].dirty.add(name)

    def receive(self, request: Any) -> None:
        """Take in a DeltaDiscoveryRequest."""
        kind = self._kinds.get(request.type_url)
        if kind is None:
            return
        if request.response_nonce:
            self._settle(request)
        if not kind.opened:
            self._open(kind, request)
        for name in request.resource_names_subscribe:
            if name != "*":
                kind.subscribed.add(name)
                kind.dirty.add(name)
        for name in request.resource_names_unsubscribe:
            kind.subscribed.discard(name)
            kind.known.pop(name, None)

    def responses(self) -> list[Any]:
        """Everything that is due now, as DeltaDiscoveryResponses in the order in which they must be sent."""
        return [response for type_url in ORDER for response in self._due(type_url)]

    def _open(self, kind: _Kind, request: Any) -> None:
        kind.opened = True
        held = dict(request.initial_resource_versions)
        kind.known.update(held)
        self._observer.holds({(request.type_url, name): version for name, version in held.items()})
        if request.type_url in WILDCARD:
            kind.owes_answer = True
            kind.dirty |= set(self._resources[request.type_url]) | set(held)
        else:
            kind.subscribed |= set(held)
            kind.dirty |= set(held)

    def _settle(self, request: Any) -> None:
        sent = self._in_flight.pop(request.response_nonce, None)
        if sent is None:
            return
        if not request.HasField("error_detail"):
            self._observer.acknowledge(
                {(sent.type_url, name): version for name, version in sent.versions.items()},
                [(sent.type_url, name) for name in sent.removed],
            )
        elif len(sent.versions) > 1:
            self._kinds[sent.type_url].alone.extend(sent.versions)
        else:
            for name in sent.versions:
                self._observer.refuse((sent.type_url, name), request.error_detail.message)

    def _due(self, type_url: str) -> list[Any]:
        kind = self._kinds[type_url]
        if not kind.opened:
            return []
        changed, gone = self._difference(type_url, kind)
        batches = [changed[at : at + BATCH] for at in range(0, len(changed), BATCH)]
        batches += [[self._resources[type_url][name]] for name in kind.alone if name in self._resources[type_url]]
        kind.alone.clear()
        if not batches and (gone or (kind.owes_answer and not kind.known)):
            batches = [[]]
        kind.owes_answer = False
        answers = []
        for number, batch in enumerate(batches):
            answers.append(self._answer(type_url, batch, gone if number == 0 else []))
        return answers

    def _difference(self, type_url: str, kind: _Kind) -> tuple[list[Resource], list[str]]:
        present = self._resources[type_url]
        changed, gone = [], []
        names_due, kind.dirty = kind.dirty, set()
        leaving = type_url == names.CLUSTER and any(name in kind.known and name not in present for name in names_due)
        # Note: clusters that must wait stay in `kind.dirty`; the scopes' acknowledgement calls again. Asked only when a
        # cluster goes: with many deployments, looking at every scope would be half of what a change of weights costs.
        waiting = leaving and self._scopes_leaving()
        for name in sorted(names_due):
            if type_url not in WILDCARD and name not in kind.subscribed:
                continue
            resource = present.get(name)
            if resource is not None:
                if kind.known.get(name) != resource.version:
                    kind.known[name] = resource.version
                    changed.append(resource)
            elif waiting and name in kind.known:
                kind.dirty.add(name)
            elif kind.known.pop(name, None) is not None or type_url not in WILDCARD:
                gone.append(name)
        return changed, gone

    def _scopes_leaving(self) -> bool:
        scopes = self._kinds[names.SCOPE]
        if not scopes.opened and self._kinds[names.CLUSTER].known:
            # A reconnecting Envoy has not yet said which scopes it holds.
            return True
        present = self._resources[names.SCOPE]
        if any(name not in present for name in scopes.known):
            return True
        return any(sent.type_url == names.SCOPE and sent.removed for sent in self._in_flight.values())

    def _answer(self, type_url: str, batch: list[Resource], gone: list[str]) -> Any:
        nonce = str(next(self._nonces))
        self._in_flight[nonce] = _Sent(type_url, {each.name: each.version for each in batch}, gone)
        return discovery_pb2.DeltaDiscoveryResponse(
            type_url=type_url, nonce=nonce, resources=[each.message for each in batch], removed_resources=gone
        )
