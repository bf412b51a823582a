"""A cluster of plain dicts in which plans are carried out: what tests of the domain play with."""

from __future__ import annotations

import copy
from typing import Any

import yaml

from insource.api import conditions as c
from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.catalog_model import CatalogModelSpec
from insource.api.catalogue import builtin_objects
from insource.api.inference_runtime import InferenceRuntimeSpec
from insource.api.kinds import parse
from insource.api.model_deployment import ModelDeploymentSpec, ModelDeploymentStatus
from insource.api.vendor import VendorSpec
from insource.domain.plan import plan_deployment
from insource.domain.served_names import Claim
from insource.domain.snapshot import Catalogue, DeploymentSnapshot, Plan, Settings, VendorAdapter, child_of, pod_of

SETTINGS = Settings(image="insource/insource:test", ledger_url="http://ledger:8080", gateway_url="http://gateway:8000/")
SPEC = """
modality: Transcription
backends:
- name: inhouse
  inHouse: {model: whisper-tiny-en, accelerator: {class: cpu}}
- name: openai
  vendor: {name: openai, model: whisper-1}
traffic:
  primary: inhouse
  spill: {backend: openai, when: Always, dailyLimit: "5"}
"""


def spec(**changes: Any) -> dict[str, Any]:
    """The usual spec with some top-level fields replaced."""
    return {**yaml.safe_load(SPEC), **changes}


def vendor_object(name: str = "openai", **changes: Any) -> dict[str, Any]:
    """A Vendor as the API gives it."""
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "Vendor",
        "metadata": {"name": name, "namespace": "voice", "uid": f"uid-{name}", "generation": 1},
        "spec": {
            "endpoint": "https://api.openai.com/v1",
            "credentials": {"secretRef": {"name": "openai-key", "key": "key"}},
            **changes,
        },
    }


def builtin_catalogue(**without: str) -> Catalogue:
    """The shipped catalogue, parsed; `models="x"` leaves out the model x, and so on."""
    objects = builtin_objects()
    found: dict[str, dict[str, Any]] = {"CatalogModel": {}, "InferenceRuntime": {}, "AcceleratorClass": {}}
    specs: dict[str, Any] = {
        "CatalogModel": CatalogModelSpec,
        "InferenceRuntime": InferenceRuntimeSpec,
        "AcceleratorClass": AcceleratorClassSpec,
    }
    for obj in objects:
        if obj["kind"] in specs and obj["metadata"]["name"] not in without.values():
            found[obj["kind"]][obj["metadata"]["name"]] = parse(obj, specs[obj["kind"]])
    return Catalogue(found["CatalogModel"], found["InferenceRuntime"], found["AcceleratorClass"])


class World:
    """One ModelDeployment `voice/dictation` and what surrounds it."""

    def __init__(self, wanted: dict[str, Any] | None = None, **vendors: dict[str, Any]) -> None:
        self.object: dict[str, Any] = {
            "apiVersion": "insource.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "dictation", "namespace": "voice", "uid": "uid-1", "generation": 1},
            "spec": wanted or spec(),
        }
        self.vendors = vendors or {"openai": vendor_object()}
        self.catalogue = builtin_catalogue()
        self.settings = SETTINGS
        self.live: dict[tuple[str, str], dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] = []
        self.adapters = {name: VendorAdapter(ready=1, credentials_resolved=True) for name in self.vendors}
        self.gateways: tuple[int, ...] = ()
        self.rivals: dict[str, tuple[Claim, ...]] = {}
        self.keep_live = True
        self.second = 0
        self.status_writes = 0
        self.events: list[str] = []

    # what users and controllers do

    def edit(self, wanted: dict[str, Any]) -> None:
        """Somebody changes the spec."""
        self.object["spec"] = wanted
        self.object["metadata"]["generation"] += 1

    def ready(self, count: int, *, name: str | None = None) -> None:
        """ReplicaSets (all, or one) get this many ready replicas, at most what they want."""
        for (kind, its_name), obj in self.live.items():
            if kind == "ReplicaSet" and name in (None, its_name):
                obj["status"] = {"readyReplicas": min(count, obj["spec"]["replicas"]), "observedGeneration": 1}

    def gateways_apply(self, count: int = 1) -> None:
        """Every gateway follows the present version."""
        self.gateways = (self.status["traffic"]["version"],) * count

    # what the operator does

    def snapshot(self) -> DeploymentSnapshot:
        """What the reconciler would see now."""
        self.second += 1
        return DeploymentSnapshot(
            deployment=parse(copy.deepcopy(self.object), ModelDeploymentSpec),
            catalogue=self.catalogue,
            vendors={name: parse(obj, VendorSpec) for name, obj in self.vendors.items()},
            settings=self.settings,
            now=f"2026-11-23T20:{self.second // 60:02}:{self.second % 60:02}Z",
            children=tuple(child_of(obj, keep_live=self.keep_live) for obj in self.live.values()),
            pods=tuple(map(pod_of, self.pods)),
            vendor_adapters=self.adapters,
            gateway_versions=self.gateways,
            rivals=self.rivals,
        )

    def plan(self) -> Plan:
        """The plan, without carrying it out."""
        return plan_deployment(self.snapshot())

    def step(self) -> Plan:
        """Plan and carry out."""
        plan = self.plan()
        for wanted in plan.applies:
            key = (wanted["kind"], wanted["metadata"]["name"])
            before = self.live.get(key, {})
            obj = copy.deepcopy(wanted)
            obj["metadata"] |= {"uid": f"uid-{key}", "generation": 1}
            if key[0] in ("ReplicaSet", "Deployment"):
                obj["status"] = before.get("status", {"observedGeneration": 1})
            self.live[key] = obj
        if plan.status is not None:
            ModelDeploymentStatus.model_validate(plan.status)
            self.object["status"] = copy.deepcopy(plan.status)
            self.status_writes += 1
        self.events += [f"{event.type} {event.reason}" for event in plan.events]
        for deletion in plan.deletes:
            del self.live[deletion.kind, deletion.name]
        return plan

    def settle(self) -> None:
        """Carry out plans until one is empty."""
        for _ in range(10):
            if self.step().empty:
                return
        raise AssertionError("plans never become empty")

    def serve(self) -> World:
        """Bring it to Ready."""
        self.settle()
        self.ready(100)
        self.settle()
        return self

    # what can be seen

    @property
    def status(self) -> dict[str, Any]:
        return self.object.get("status", {})

    @property
    def weights(self) -> list[tuple[str, str, int]]:
        return [(w["backend"], w["revision"], w["weight"]) for w in self.status["traffic"]["weights"]]

    def names(self, kind: str) -> list[str]:
        return sorted(name for its_kind, name in self.live if its_kind == kind)

    def condition(self, type_: str) -> dict[str, Any]:
        return next((item for item in self.status["conditions"] if item["type"] == type_), {})

    def says(self, type_: str) -> str:
        """A condition's status, `-` if absent."""
        return self.condition(type_).get("status", "-")

    def is_ready(self) -> bool:
        return self.says(c.READY) == c.TRUE
