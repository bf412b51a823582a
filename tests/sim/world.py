"""A small cluster under virtual time: the store, a person who edits, things that make pods ready, and our operator.

Everything happens in one thread, one step after another, in an order drawn from the seed; so a seed repeats a run. The
operator's workers take turns: each goes on from one end of a call of the API to the next, while others wait at theirs.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from insource.api.catalogue import builtin_objects
from insource.api.conditions import NOT_OBSERVED
from insource.kube import resources
from insource.kube.resources import Object, Resource, key_of, resource_of
from insource.local.store import Store
from insource.wire.gateway import ListedModel, ModelsReport
from tests.sim.operator_process import GATEWAY, OperatorProcess
from tests.sim.store_client import Crash, Faults
from tests.sim.virtual import virtual_env

CALLS_OF_A_PASS = 12
"""Both ends of each, of a ModelDeployment's first pass."""
_CRDS = Path(__file__).resolve().parents[2] / "crds"
_COMPARED = (
    resources.MODEL_DEPLOYMENTS,
    resources.VENDORS,
    resources.REPLICA_SETS,
    resources.DEPLOYMENTS,
    resources.SERVICES,
    resources.CONTROLLER_REVISIONS,
    resources.CONFIG_MAPS,
    resources.SERVICE_ACCOUNTS,
    resources.PRICE_BOOKS,
    resources.CATALOG_MODELS,
)
Edit = Callable[["World"], None]


@cache
def _crds() -> tuple[Object, ...]:
    return tuple(yaml.safe_load(path.read_text()) for path in sorted(_CRDS.glob("*.yaml")))


class World:
    """The cluster. `faults` may be switched off at any time (`calm`)."""

    def __init__(
        self,
        seed: int,
        *,
        crash: float = 0.0,
        refuse: float = 0.0,
        lose_answer: float = 0.0,
        lossy: bool = False,
        builtins: Sequence[Object] = (),
        gateways: tuple[str, ...] = (GATEWAY,),
    ) -> None:
        """`builtins` are for the operator to apply; without them, the catalogue is there as a person's.

        `GATEWAY` is one that is always level; a test that gives others asks them itself.
        """
        self.seed = seed
        self.rng = random.Random(seed)
        self.env, self.clock = virtual_env(seed)
        self.faults = Faults(random.Random(seed + 1), crash, refuse, lose_answer)
        self.lossy = lossy
        self.has_key = True
        self.models: ModelsReport | None = ModelsReport(
            models=(ListedModel(id="whisper-1", shutdown_date="2027-02-26"),), listed_at=1
        )
        """What every vendor's adapter tells of its list of models."""
        self.store = Store(self.env, history=60 if lossy else 10_000)
        self.restarts = 0
        self.switches = 0
        """How often a worker went on while another was in the middle of its pass."""
        self._generations: dict[str, int] = {}
        for name in ("voice", "insource-system"):
            self.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self.builtins = builtins
        self.gateways = gateways
        for manifest in (*_crds(), *(() if builtins else builtin_objects())):
            self.put(manifest)
        self.operator = OperatorProcess(self)

    # --- the cluster's other inhabitants

    def put(self, obj: Object) -> None:
        """Somebody creates an object, or replaces its spec (and nothing else)."""
        metadata = obj["metadata"]
        ref, namespace, name = self._ref(obj), metadata.get("namespace"), metadata["name"]
        live = self.store.find(ref, namespace, name)
        if live is None:
            self.store.create(ref, obj, namespace, field_manager="person")
        else:
            self.store.update(ref, namespace, name, {**live, "spec": obj["spec"]}, field_manager="person")

    def remove(self, resource: Resource, name: str, namespace: str = "") -> None:
        """Somebody deletes an object; one that is gone is fine."""
        if self.store.find((resource.group, resource.plural), namespace or None, name) is not None:
            self.store.delete((resource.group, resource.plural), namespace or None, name)

    def remove_named(self, title: str) -> None:
        """Somebody deletes an object by its title in `picture`."""
        kind, _, path = title.partition(" ")
        namespace, _, name = path.partition("/")
        self.remove(next(resource for resource in _COMPARED if resource.kind == kind), name, namespace)

    def objects(self, resource: Resource) -> list[Object]:
        """Every object of a kind, to read."""
        return self.store.list((resource.group, resource.plural)).items

    def run_workloads(self) -> None:
        """What Kubernetes' controllers, scheduler and kubelet do, all at once: what should run, runs."""
        for kind in (resources.REPLICA_SETS, resources.DEPLOYMENTS):
            for workload in self.objects(kind):
                self._run_workload((kind.group, kind.plural), workload)

    def _run_workload(self, ref: tuple[str, str], workload: Object) -> None:
        metadata, wanted = workload["metadata"], workload["spec"].get("replicas", 1)
        counts = dict.fromkeys(("replicas", "readyReplicas", "availableReplicas"), wanted)
        status = {"observedGeneration": metadata["generation"], **counts}
        if any((workload.get("status") or {}).get(name) != value for name, value in status.items()):
            patch = {"status": status}
            self.store.patch(ref, metadata["namespace"], metadata["name"], patch, "merge", subresource="status")

    def applied(self) -> dict[str, int]:
        """A gateway that applies at once what the statuses say."""
        return {
            str(key_of(deployment)): deployment["status"]["traffic"]["version"]
            for deployment in self.objects(resources.MODEL_DEPLOYMENTS)
            if (deployment.get("status") or {}).get("traffic")
        }

    # --- running

    async def run(self, edits: list[Edit], steps: int = 400) -> None:
        """Start the operator, and let everything happen in an order of chance until all edits are made."""
        await self._survive(self.operator.start)
        todo = list(edits)
        if self.lossy:
            self.faults.deny = lambda _: self._meddle(todo)
        for _ in range(steps):
            await self._survive(self._step, todo)
        self.faults.deny = lambda _: None
        for edit in todo:
            edit(self)

    def _meddle(self, todo: list[Edit]) -> None:
        """A person's edit just before one of our writes: after we looked, and before we wrote."""
        if todo and self.rng.random() < 0.05:
            todo.pop(0)(self)

    async def settle(self) -> int:
        """No more faults: run until nothing happens any more. Returns the number of rounds."""
        self.faults.crash = self.faults.refuse = self.faults.lose_answer = 0.0
        self.lossy = False
        self.operator.finish()
        quiet = 0
        for rounds in range(200):
            before = self.store.resource_version
            self.run_workloads()
            for resource in self.operator.informers:
                await self.operator.relist(resource)
            self.operator.hear()
            self.clock.time += 400
            while await self.operator.work():
                self.operator.hear()
            quiet = quiet + 1 if self.store.resource_version == before else 0
            if quiet == 3:
                return rounds
        raise AssertionError(f"seed {self.seed}: never settles; last writes {self.operator.client.writes[-6:]}")

    async def restart(self) -> None:
        """The operator is killed and started again."""
        self.restarts += 1
        self.operator.kill()
        self.operator = OperatorProcess(self)
        await self.operator.start()

    async def _step(self, todo: list[Edit]) -> None:
        operator = self.operator
        match self.rng.randrange(12):
            case 0 | 1 | 2 | 3:
                for _ in range(self.rng.randint(1, 2 * CALLS_OF_A_PASS)):
                    operator.turn()
            case 4 | 5 | 6 | 7:
                await operator.deliver(self.rng.choice(list(operator.informers)), self.lossy)
            case 8:
                self.run_workloads()
            case 9:
                operator.hear()
            case 10:
                self.clock.time += self.rng.choice((0.1, 1, 10, 100))
            case _:
                if todo and self.rng.random() < 0.3:
                    todo.pop(0)(self)
                elif self.lossy and self.rng.random() < 0.2:
                    await operator.relist(self.rng.choice(list(operator.informers)))

    async def _survive(self, act: Callable[..., Any], *arguments: Any) -> None:
        try:
            await act(*arguments)
        except Crash:
            while True:
                try:
                    await self.restart()
                    return
                except Crash:
                    continue

    # --- what must hold

    def check(self) -> None:
        """After every write: weights sum to 100, observedGeneration never goes back."""
        for deployment in self.objects(resources.MODEL_DEPLOYMENTS):
            status, uid = deployment.get("status") or {}, deployment["metadata"]["uid"]
            traffic = status.get("traffic")
            if traffic:
                total = sum(weight["weight"] for weight in traffic["weights"])
                assert total == 100, f"seed {self.seed}: weights {traffic['weights']}"
            observed = status.get("observedGeneration", 0)
            assert observed >= self._generations.get(uid, NOT_OBSERVED), (
                f"seed {self.seed}: observedGeneration went back"
            )
            assert observed <= deployment["metadata"]["generation"]
            self._generations[uid] = observed

    def picture(self) -> dict[str, Any]:
        """What a person would call the state: without versions, uids, times, and revisions that nothing uses."""
        used = {workload["metadata"]["name"] for workload in self.objects(resources.REPLICA_SETS)}
        picture = {}
        for resource in _COMPARED:
            for obj in self.objects(resource):
                name = obj["metadata"]["name"]
                if resource is resources.CONTROLLER_REVISIONS and name not in used:
                    continue
                title = f"{resource.kind} {obj['metadata'].get('namespace', '')}/{name}"
                picture[title] = _timeless({field: value for field, value in obj.items() if field != "revision"})
        return picture

    def orphans(self) -> list[str]:
        """Objects whose owner does not exist."""
        uids = {obj["metadata"]["uid"] for kind in _COMPARED for obj in self.objects(kind)}
        return [
            obj["metadata"]["name"]
            for kind in _COMPARED
            for obj in self.objects(kind)
            for owner in obj["metadata"].get("ownerReferences", ())
            if owner["uid"] not in uids
        ]

    def _ref(self, obj: Object) -> tuple[str, str]:
        if obj["kind"] == "CustomResourceDefinition":
            return ("apiextensions.k8s.io", "customresourcedefinitions")
        resource = resource_of(obj)
        return (resource.group, resource.plural)


_FLEETING = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "observedGeneration",
     "lastTransitionTime", "version", "revision_number", "lastUpdateTime", "insource.dev/applied"}
)  # fmt: skip


def _timeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _timeless(item) for name, item in value.items() if name not in _FLEETING}
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    # A traffic version counts changes, so it tells how many of them were seen: that is history, not state.
    return re.sub(r"version \d+", "version N", value) if isinstance(value, str) else value
