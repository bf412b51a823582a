"""Which deployments' configuration Envoy has acknowledged in full. Pure bookkeeping, fed by the ADS stream."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from insource.gateway.render.names import EXTENSION
from insource.gateway.render.resources import Resource
from insource.gateway.view import DeploymentKey, DeploymentView
from insource.wire.gateway import AppliedDeployment

Identity = tuple[str, str]
"""(type URL, resource name)."""

KEYS_REFUSED = "the list of client keys was refused; the previous one stays in force"


@dataclass
class _Desire:
    version: int
    generation: int
    resources: dict[Identity, str]
    refusals: dict[Identity, str] = field(default_factory=dict)
    settled: bool = False


class Applications:
    """Desired versions per deployment against acknowledged versions per resource.

    `settled` is called once for each rendering of a deployment, when Envoy has acknowledged all of it.
    """

    def __init__(self, settled: Callable[[DeploymentKey], None]) -> None:
        self._settled = settled
        self._desires: dict[DeploymentKey, _Desire] = {}
        self._owners: dict[Identity, DeploymentKey] = {}
        self._acknowledged: dict[Identity, str] = {}
        self._applied: dict[DeploymentKey, tuple[int, int]] = {}
        self.refusals_total = 0

    def desire(self, view: DeploymentView, resources: Iterable[Resource]) -> None:
        """The deployment is rendered as `resources` now."""
        wanted = {each.identity: each.version for each in resources}
        if view.version < self._applied.get(view.key, (0, 0))[0]:
            # Deleted and made anew under the same name: what was applied is of another one.
            del self._applied[view.key]
        self._desires[view.key] = _Desire(view.version, view.generation, wanted)
        for identity in wanted:
            self._owners[identity] = view.key
        self._settle(view.key)

    def forget(self, key: DeploymentKey) -> None:
        """The deployment is not routed any more."""
        desire = self._desires.pop(key, None)
        self._applied.pop(key, None)
        for identity in desire.resources if desire else ():
            self._owners.pop(identity, None)

    def restart(self, held: dict[Identity, str]) -> None:
        """A new stream: Envoy says what it holds."""
        self._acknowledged = dict(held)
        for key in self._desires:
            self._settle(key)

    def holds(self, held: dict[Identity, str]) -> None:
        """The stream's first request of one type: Envoy says what it holds of it."""
        self._acknowledged.update(held)
        for owner in {self._owners[identity] for identity in held if identity in self._owners}:
            self._settle(owner)

    def acknowledge(self, identities: dict[Identity, str], removed: Iterable[Identity]) -> None:
        """Envoy accepted one response."""
        for identity in removed:
            self._acknowledged.pop(identity, None)
        self.holds(identities)

    def refuse(self, identity: Identity, text: str) -> None:
        """Envoy refused one resource. The text of a refused key list contains the key: it is not kept."""
        self.refusals_total += 1
        owner = self._owners.get(identity)
        if owner is not None:
            self._desires[owner].refusals[identity] = KEYS_REFUSED if identity[0] == EXTENSION else text

    def acknowledged(self, identity: Identity) -> str | None:
        """The version that Envoy holds of one resource, None if none."""
        return self._acknowledged.get(identity)

    def is_applied(self, key: DeploymentKey) -> bool:
        """True if Envoy has acknowledged the deployment as it is rendered now."""
        desire = self._desires.get(key)
        return desire is not None and all(
            self._acknowledged.get(identity) == version for identity, version in desire.resources.items()
        )

    def pending(self) -> int:
        """How many deployments Envoy has neither acknowledged nor refused as they are rendered now."""
        return sum(not self.is_applied(key) and not desire.refusals for key, desire in self._desires.items())

    def applied(self, names: Collection[str] = ()) -> dict[str, AppliedDeployment]:
        """`GET /applied`: of the deployments `names`, or of all. Version 0: Envoy has acknowledged nothing yet."""
        answer = {}
        for key in map(DeploymentKey.parse, names) if names else self._desires:
            desire = self._desires.get(key)
            if desire is None:
                continue
            version, generation = self._applied.get(key, (0, 0))
            message = "; ".join(desire.refusals.values())
            answer[str(key)] = AppliedDeployment(version=version, generation=generation, message=message)
        return answer

    def _settle(self, key: DeploymentKey) -> None:
        if self.is_applied(key):
            desire = self._desires[key]
            desire.refusals.clear()
            self._applied[key] = (desire.version, desire.generation)
            if not desire.settled:
                desire.settled = True
                self._settled(key)
