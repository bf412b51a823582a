"""Operators as processes, and what they say of themselves."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from insource.kube.resources import Resource
from tests.cluster.processes import Child, wait_until


@dataclass(frozen=True)
class Operator:
    """One operator process. Its `user` is its name in the Lease, too."""

    user: str
    child: Child
    port: int

    def send(self, what: signal.Signals) -> None:
        self.child.process.send_signal(what)

    def leads(self) -> bool:
        """Whether it believes that it may write, by its own metrics. False if it does not answer."""
        return "insource_operator_leads 1.0" in self._get("/metrics").splitlines()

    def known(self, kind: Resource) -> int:
        """How many objects of a kind it has heard of. -1 if it does not answer."""
        name = f'insource_operator_objects{{kind="{kind.plural}"}} '
        told = [line for line in self._get("/metrics").splitlines() if line.startswith(name)]
        return int(float(told[0].removeprefix(name))) if told else -1

    def is_ready(self) -> bool:
        return self._get("/readyz") == "ok"

    def _get(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return ""


@dataclass(frozen=True)
class Pair:
    """Two operators; which one leads is for the Lease to say."""

    first: Operator
    second: Operator
    holder: Callable[[], str]
    """The one whom the Lease names."""

    def roles(self) -> tuple[Operator, Operator]:
        """(leader, standby), once there is a leader."""
        self.wait_for_one()
        return (self.first, self.second) if self.holder() == self.first.user else (self.second, self.first)

    def wait_for_one(self) -> None:
        """Until the one who believes that it may write is the one whom the Lease names, and the other does not."""
        wait_until(lambda: self._leading() == [self.holder()], [], "one leader")

    def _leading(self) -> list[str]:
        return [each.user for each in (self.first, self.second) if each.leads()]

    def both_lead(self) -> bool:
        """Asked of the first before and after: it has not stopped in between."""
        return self.first.leads() and self.second.leads() and self.first.leads()
