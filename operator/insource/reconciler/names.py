"""Which ModelDeployments may answer to the same model names: an index, kept as they change. Decides nothing.

The namespaces whose clients a ModelDeployment admits keep those apart that never meet: a change of one costs as much as
there are others that some client might confuse it with, however many have claimed the name for their own namespaces.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from insource.api.kinds import Misfit
from insource.api.kinds import Resource as Parsed
from insource.api.model_deployment import ModelDeploymentSpec
from insource.domain.served_names import ANY, Claim
from insource.domain.snapshot import claim_of
from insource.kube.cache import Cache
from insource.kube.resources import Key

Deployment = Parsed[ModelDeploymentSpec]
Group = tuple[str, str]
"""(name, namespace of the ModelDeployment; `ANY` for all that admit clients of other namespaces)."""


class _Known(NamedTuple):
    claim: Claim
    names: tuple[str, ...]
    routed: bool
    """A gateway sends it requests: until then nobody loses a name to it."""


class NameIndex:
    """Told of every change by `note`; asked by `rivals`."""

    def __init__(self, deployments: Cache[Deployment | Misfit]) -> None:
        self._deployments = deployments
        self._known: dict[Key, _Known] = {}
        self._groups: defaultdict[Group, set[Key]] = defaultdict(set)
        self._claimants: defaultdict[str, set[Key]] = defaultdict(set)
        """Served name -> all who claim it."""

    def rivals(self, deployment: Deployment) -> dict[str, tuple[Claim, ...]]:
        """For each of its names the others that may answer to it."""
        if not deployment.spec.served_names:
            return {}
        key, mine = Key(deployment.namespace, deployment.name), claim_of(deployment)
        found = {}
        for name in deployment.spec.served_names:
            others = {other for group in _groups(name, mine) for other in self._groups.get(group, ())} - {key}
            claims = [known.claim for other in sorted(others) if (known := self._known[other]).routed]
            full = self._of_full_name(name)
            if full is not None and Key(full.namespace, full.name) != key and _is_routed(full):
                claims.append(claim_of(full))
            found[name] = tuple(claims)
        return found

    def note(self, key: Key, deployment: Deployment | Misfit | None) -> set[Key]:
        """The ModelDeployment as it is now, None if it is gone: whose names may be another matter now.

        One that does not fit its kind keeps what it had: it is routed as before.
        """
        if isinstance(deployment, Misfit):
            return set()
        old = self._known.get(key)
        new = self._known_of(key, deployment)
        if old == new and deployment is not None:
            return set()
        touched = self._take(key, old) | self._put(key, new)
        return (touched | self._claimants.get(f"{key.namespace}/{key.name}", set())) - {key}

    def _known_of(self, key: Key, deployment: Deployment | None) -> _Known | None:
        if deployment is None:
            return None
        names = deployment.spec.served_names
        if not names and f"{key.namespace}/{key.name}" not in self._claimants:
            return None  # nobody can confuse it with another
        return _Known(claim_of(deployment), names, _is_routed(deployment))

    def _take(self, key: Key, old: _Known | None) -> set[Key]:
        self._known.pop(key, None)
        touched: set[Key] = set()
        for name in old.names if old else ():
            _discard(self._claimants, name, key)
            for group in _groups(name, old.claim) if old else ():
                touched |= self._groups[group]
                _discard(self._groups, group, key)
        return touched

    def _put(self, key: Key, new: _Known | None) -> set[Key]:
        touched: set[Key] = set()
        if new is None:
            return touched
        self._known[key] = new
        for name in new.names:
            self._claimants[name].add(key)
            for group in _groups(name, new.claim):
                touched |= self._groups[group]
                self._groups[group].add(key)
        return touched

    def _of_full_name(self, name: str) -> Deployment | None:
        namespace, slash, rest = name.partition("/")
        found = self._deployments.get(Key(namespace, rest)) if slash else None
        return None if isinstance(found, Misfit) else found


def _groups(name: str, claim: Claim) -> Iterable[Group]:
    yield (name, claim.namespace)
    if claim.reaches_out:
        yield (name, ANY)


def _is_routed(deployment: Deployment) -> bool:
    return bool(deployment.status.get("traffic"))


def _discard(sets: dict[Any, set[Key]], group: Any, key: Key) -> None:
    sets[group].discard(key)
    if not sets[group]:
        del sets[group]
