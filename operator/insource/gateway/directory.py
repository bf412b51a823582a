"""Which ModelDeployment a client means by a model's name, of those that it may call. No I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from insource.domain.served_names import precedence
from insource.gateway.view import ClientKey, DeploymentKey, DeploymentView


class Directory:
    """All that is served, by name."""

    def __init__(self) -> None:
        self._views: dict[DeploymentKey, DeploymentView] = {}
        self._claimants: defaultdict[str, set[DeploymentKey]] = defaultdict(set)
        """Served name -> who claims it."""
        self._limits: Counter[int] = Counter()
        """How many take bodies of so many bytes."""
        self._namespaces: dict[str, frozenset[str]] = {}
        """Client -> its own namespaces."""

    def put(self, view: DeploymentView) -> None:
        """It is served, as it is now."""
        self.remove(view.key)
        self._views[view.key] = view
        self._limits[view.max_body_bytes] += 1
        for name in view.served_names:
            self._claimants[name].add(view.key)

    def remove(self, key: DeploymentKey) -> None:
        """It is not served any more."""
        old = self._views.pop(key, None)
        if old is None:
            return
        self._limits[old.max_body_bytes] -= 1
        if not self._limits[old.max_body_bytes]:
            del self._limits[old.max_body_bytes]
        for name in old.served_names:
            self._claimants[name].discard(key)
            if not self._claimants[name]:
                del self._claimants[name]

    def set_keys(self, keys: Iterable[ClientKey]) -> None:
        """The clients, all of them. One with several keys has the namespaces of all."""
        namespaces: defaultdict[str, set[str]] = defaultdict(set)
        for each in keys:
            namespaces[each.client].update(each.namespaces)
        self._namespaces = {client: frozenset(own) for client, own in namespaces.items()}

    def resolve(self, client: str, model: str) -> DeploymentView | None:
        """Whom this client means by `model`: None if none of those that it may call answers to it."""
        own = self._namespaces.get(client, frozenset())
        callable_ = (view for view in self._answering(model) if _admits(view, client))
        return min(callable_, key=lambda view: precedence(view.claim, model, own), default=None)

    def names(self, client: str) -> list[tuple[str, DeploymentView]]:
        """Every name that this client may send, and whom it means by it; sorted."""
        mine = [view for view in self._views.values() if _admits(view, client)]
        names = {name for view in mine for name in (str(view.key), *view.served_names)}
        resolved = ((name, self.resolve(client, name)) for name in sorted(names))
        return [(name, view) for name, view in resolved if view is not None]

    @property
    def longest_body(self) -> int:
        """The most bytes that any of them takes; 0 if there is none."""
        return max(self._limits, default=0)

    def _answering(self, model: str) -> Iterator[DeploymentView]:
        full = self._views.get(DeploymentKey.parse(model))
        if full is not None:
            yield full
        for key in self._claimants.get(model, ()):
            yield self._views[key]


def _admits(view: DeploymentView, client: str) -> bool:
    place = bisect_left(view.clients, client)
    return place < len(view.clients) and view.clients[place] == client


def model_object(name: str, view: DeploymentView) -> dict[str, Any]:
    """A model in OpenAI's shape."""
    try:
        created = int(datetime.fromisoformat(view.created).timestamp())
    except ValueError:
        created = 0
    return {"id": name, "object": "model", "created": created, "owned_by": view.key.namespace}
