"""What others said last: gateways and adapters when they were asked, the API server of what a namespace needs.

Filled by `polling` and `controller`, read by snapshots.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from insource.api import conditions as c
from insource.domain.problem import Problem
from insource.kube.resources import Key
from insource.wire.gateway import ModelsReport


class Observations:
    """Applied versions per gateway, credentials and models per Vendor. Empty answers mean: we do not know."""

    def __init__(self, gateway_urls: tuple[str, ...]) -> None:
        self._applied: dict[str, dict[str, int]] = {url: {} for url in gateway_urls}
        self._credentials: dict[Key, tuple[bool | None, str]] = {}
        self._models: dict[Key, ModelsReport] = {}
        self._refused: dict[str, Problem] = {}
        self._unready: dict[Key, str] = {}

    def note_gateways(self, gateway_urls: Collection[str]) -> bool:
        """These are the gateways now: True if that is news. What those who stay have told is kept."""
        if self._applied.keys() == set(gateway_urls):
            return False
        self._applied = {url: self._applied.get(url, {}) for url in gateway_urls}
        return True

    def gateway_versions(self, deployment: Key) -> tuple[int, ...]:
        """For each gateway the traffic version of this deployment that it has applied, -1 if it does not say."""
        name = str(deployment)
        return tuple(answer.get(name, -1) for answer in self._applied.values())

    def note_applied(self, gateway_url: str, versions: Mapping[str, int]) -> set[str]:
        """A gateway told its traffic version of some deployments: the names of those for which that is news."""
        known = self._applied.get(gateway_url)
        if known is None:
            return set()  # it left while it was asked
        news = {name for name, version in versions.items() if known.get(name) != version}
        known.update(versions)
        return news

    def forget_deployment(self, deployment: Key) -> None:
        """The deployment is gone, or what it waited for is written in its status."""
        name = str(deployment)
        for known in self._applied.values():
            known.pop(name, None)

    def credentials(self, vendor: Key) -> tuple[bool | None, str]:
        """Whether the Vendor's adapters have its key (None: nobody could be asked), and what is wrong."""
        return self._credentials.get(vendor, (None, ""))

    def note_credentials(self, vendor: Key, resolved: bool | None, message: str) -> bool:
        """An adapter answered: True if that is news."""
        news = self.credentials(vendor) != (resolved, message)
        self._credentials[vendor] = (resolved, message)
        return news

    def models(self, vendor: Key) -> ModelsReport | None:
        """What the Vendor's list of models says; None: no adapter has told."""
        return self._models.get(vendor)

    def note_models(self, vendor: Key, report: ModelsReport) -> bool:
        """An adapter told of the list: True if that is news. That it is the same list, only later, is none."""
        before = self._models.get(vendor)
        self._models[vendor] = report
        return before is None or before.model_copy(update={"listed_at": report.listed_at}) != report

    def unready(self, pod: Key) -> str:
        """Why a pod's adapter says that it is not ready; empty if it is, or has not said."""
        return self._unready.get(pod, "")

    def note_unready(self, pod: Key, message: str) -> bool:
        """A pod's adapter told why it is not ready, empty: it is, or is gone. True if that is news."""
        if self._unready.get(pod, "") == message:
            return False
        if message:
            self._unready[pod] = message
        else:
            del self._unready[pod]
        return True

    def refused(self, namespace: str) -> Problem | None:
        """What the API server refused of the objects that every adapter of a namespace needs."""
        return self._refused.get(namespace)

    def note_refused(self, namespace: str, problem: Problem | None) -> bool:
        """The objects of a namespace were written (None), or one was refused: True if that is news."""
        if self._refused.get(namespace) == problem:
            return False
        if problem is None:
            del self._refused[namespace]
        else:
            self._refused[namespace] = problem
        return True

    def forget_vendor(self, vendor: Key) -> None:
        """The Vendor is gone."""
        self._credentials.pop(vendor, None)
        self._models.pop(vendor, None)


def awaits_gateways(status: Mapping[str, Any]) -> bool:
    """True while a ModelDeployment's status does not say that every gateway has applied the traffic it asks for."""
    return bool(status.get("traffic")) and c.status_of(status.get("conditions") or (), c.TRAFFIC_APPLIED) != c.TRUE


def unconfirmed(status: Mapping[str, Any], versions: tuple[int, ...]) -> bool:
    """True while a gateway has not applied the traffic that a ModelDeployment's status asks for, as far as we know."""
    return awaits_gateways(status) and any(version < status["traffic"]["version"] for version in versions)
