"""Brings one ModelDeployment, Vendor or namespace to its desired state: snapshot, plan, writes. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from insource.api import meta
from insource.api.kinds import Misfit
from insource.api.kinds import Resource as Parsed
from insource.domain.build.network_policies import SERVING_POLICY, VENDOR_POLICY
from insource.domain.plan import plan_deployment, plan_misfit, plan_namespace, plan_vendor
from insource.domain.pod_troubles import REPLICA_FAILING, Trouble
from insource.domain.problem import Problem
from insource.domain.snapshot import (
    DeploymentSnapshot,
    NamespaceSnapshot,
    Outline,
    Plan,
    Pod,
    Settings,
    VendorAdapter,
    VendorSnapshot,
)
from insource.env import Env
from insource.kube import resources
from insource.kube.applier import Applier
from insource.kube.cache import Cache
from insource.kube.client import ApiError
from insource.kube.packed import Packed
from insource.kube.resources import Key, Resource, resource_of
from insource.reconciler.caches import VENDOR_CHILDREN, WORKLOADS, Caches, PodView, split, vendors_of
from insource.reconciler.catalogue import CatalogueReconciler
from insource.reconciler.observations import Observations
from insource.reconciler.refusals import Refusal, RefusedError, refusal_of, refusal_to_delete
from insource.reconciler.statuses import StatusWriter

NAMESPACE_OBJECTS = (
    (resources.SERVICE_ACCOUNTS, meta.ADAPTER_SERVICE_ACCOUNT),
    (resources.CONFIG_MAPS, meta.GATEWAY_TOKENS_CONFIG_MAP),
    (resources.NETWORK_POLICIES, SERVING_POLICY),
    (resources.NETWORK_POLICIES, VENDOR_POLICY),
)
Compared = list[tuple[Resource, Key, Packed]]


class Work(NamedTuple):
    """What a work queue holds: one object to look at.

    For a namespace, `name` is empty. An object of the catalogue has no namespace; `cluster_kind` is its kind.
    """

    kind: Literal["deployment", "vendor", "namespace", "catalogue"]
    namespace: str
    name: str = ""
    cluster_kind: str = ""

    @property
    def key(self) -> Key:
        """The key of the object."""
        return Key(self.namespace, self.name)


class Reconciler:
    """One linear pass per object; safe to run at any time, any number of times."""

    def __init__(
        self,
        caches: Caches,
        observations: Observations,
        applier: Applier,
        statuses: StatusWriter,
        catalogue: CatalogueReconciler,
        env: Env,
        settings: Settings,
        token_digests: Callable[[str], tuple[str, ...]],
    ) -> None:
        self._caches = caches
        self._observations = observations
        self._applier = applier
        self._statuses = statuses
        self._catalogue = catalogue
        self._of_catalogue = {kind.kind: kind for kind in caches.of_catalogue()}
        self._clock = env.clock
        self._settings = settings
        self._token_digests = token_digests
        self._outlines: dict[Key, Outline] = {}

    async def reconcile(self, work: Work) -> float | None:
        """Bring one object to its desired state. Seconds until it wants another look by itself, or None.

        `ApiError` and `NotLeadingError` come through: what was done stands, the next pass goes on from there.
        `RefusedError`: the API server refused one of the objects; all the rest is done, and the status tells of it.
        """
        match work.kind:
            case "deployment":
                return await self._deployment(work.key)
            case "vendor":
                return await self._vendor(work.key)
            case "namespace":
                return await self._namespace(work.namespace)
            case "catalogue":
                await self._catalogue.reconcile(self._of_catalogue[work.cluster_kind], work.name)
                return None

    async def _deployment(self, key: Key) -> float | None:
        deployment = self._caches.deployments.get(key)
        if deployment is None or deployment.deleting:  # garbage collection removes the children
            self._observations.forget_deployment(key)
            self._outlines.pop(key, None)
            return None
        cache = self._caches.deployments
        if isinstance(deployment, Misfit):
            plan = plan_misfit(deployment, self._now())
            await self._statuses.tell(plan, resources.MODEL_DEPLOYMENTS, deployment, cache)
            return None
        compared, children = self._caches.children_of(WORKLOADS, ("deployment", key.namespace, key.name))
        names = vendors_of(deployment)
        found = (self._caches.vendors.get(Key(key.namespace, name)) for name in names)
        vendors, unfit_vendors = split(vendor for vendor in found if vendor is not None)
        snapshot = DeploymentSnapshot(
            deployment=deployment,
            catalogue=self._caches.catalogue(),
            vendors=vendors,
            unfit_vendors=unfit_vendors,
            refused=self._observations.refused(key.namespace),
            settings=self._settings,
            now=self._now(),
            children=children,
            pods=self._pods("deployment", key),
            vendor_adapters={name: self.adapter(Key(key.namespace, name)) for name in names},
            outline=self._outlines.get(key),
            gateway_versions=self._observations.gateway_versions(key),
            rivals=self._caches.names.rivals(deployment),
        )
        plan = plan_deployment(snapshot)
        if plan.outline is not None:
            self._outlines[key] = plan.outline
        await self._carry_out(
            plan,
            compared,
            resources.MODEL_DEPLOYMENTS,
            deployment,
            cache,
            lambda refused: plan_deployment(replace(snapshot, refused=refused)),
        )
        return plan.requeue_after_s

    async def _vendor(self, key: Key) -> float | None:
        vendor = self._caches.vendors.get(key)
        if vendor is None or vendor.deleting:
            self._observations.forget_vendor(key)
            return None
        cache = self._caches.vendors
        if isinstance(vendor, Misfit):
            await self._statuses.tell(plan_misfit(vendor, self._now()), resources.VENDORS, vendor, cache)
            return None
        compared, children = self._caches.children_of(VENDOR_CHILDREN, ("vendor", key.namespace, key.name))
        members = sorted(self._caches.deployments.members(("Vendor", key.namespace, key.name)))
        found = (self._caches.deployments.get(member) for member in members)
        users = [user for user in found if user is not None and not user.deleting]
        snapshot = VendorSnapshot(
            vendor=vendor,
            deployments=tuple(user for user in users if not isinstance(user, Misfit)),
            unfit_deployments=tuple(user for user in users if isinstance(user, Misfit)),
            refused=self._observations.refused(key.namespace),
            settings=self._settings,
            now=self._now(),
            children=children,
            pods=self._pods("vendor", key),
            adapter=self.adapter(key),
            catalogue=self._caches.catalogue(),
        )
        plan = plan_vendor(snapshot)
        await self._carry_out(
            plan,
            compared,
            resources.VENDORS,
            vendor,
            cache,
            lambda refused: plan_vendor(replace(snapshot, refused=refused)),
        )
        return plan.requeue_after_s

    async def _namespace(self, namespace: str) -> float | None:
        group = ("namespace", namespace)
        if not (self._caches.deployments.members(group) or self._caches.vendors.members(group)):
            return None  # what is there stays: adapters may be draining, and it costs nothing
        compared = [
            (kind, Key(namespace, name), live)
            for kind, name in NAMESPACE_OBJECTS
            if kind in self._caches.children
            if (live := self._caches.children[kind].get(Key(namespace, name))) is not None and not live.deleting
        ]
        plan = plan_namespace(
            NamespaceSnapshot(
                namespace=namespace,
                token_digests=self._token_digests(namespace),
                children=tuple(self._caches.child(kind, live) for kind, _, live in compared),
                settings=self._settings,
            )
        )
        refusal = await self._write_children(plan, compared)
        if refusal is not None:
            raise RefusedError(refusal)
        return plan.requeue_after_s

    def adapter(self, vendor: Key) -> VendorAdapter:
        """What is known of a Vendor's adapter."""
        deployments = self._caches.children[resources.DEPLOYMENTS]
        ready = 0
        for key in deployments.members(("vendor", vendor.namespace, vendor.name)):
            live = deployments.get(key)
            if live is not None and not live.deleting:
                ready += live.summary.ready
        resolved, message = self._observations.credentials(vendor)
        models = self._observations.models(vendor)
        return VendorAdapter(ready=ready, credentials_resolved=resolved, credentials_message=message, models=models)

    async def _carry_out(
        self,
        plan: Plan,
        compared: Compared,
        resource: Resource,
        owner: Parsed[Any],
        cache: Cache[Any],
        if_refused: Callable[[Problem], Plan],
    ) -> None:
        """`if_refused` is the plan for the same snapshot when one of the objects was refused: told, nothing else."""
        refusal = await self._write_children(plan, compared)
        if refusal is not None:
            plan = if_refused(refusal.problem)
        await self._statuses.tell(plan, resource, owner, cache)
        for deletion in plan.deletes:
            kind = resource_of({"apiVersion": deletion.api_version, "kind": deletion.kind})
            try:
                await self._applier.delete(kind, Key(deletion.namespace, deletion.name), deletion.uid)
            except ApiError as error:
                refusal = refusal_to_delete(deletion, error)
                if refusal is None:
                    raise
                await self._statuses.warn(resource, owner, "DeletionRefused", refusal.problem.message)
        if refusal is not None:
            raise RefusedError(refusal)

    async def _write_children(self, plan: Plan, compared: Compared) -> Refusal | None:
        """Ends at the first object that the API server refuses: those after it may need it."""
        wanting = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in plan.applies}
        for kind, key, live in compared:
            if live.wanted is None and (kind.kind, key.name) not in wanting:
                live.settle("")
        for manifest in plan.applies:
            try:
                await self._applier.apply(manifest)
            except ApiError as error:
                refusal = refusal_of(manifest, error)
                if refusal is None:
                    raise
                return refusal
        return None

    def _pods(self, kind: str, key: Key) -> tuple[Pod, ...]:
        pods: Iterable[Key] = self._caches.pods.members((kind, key.namespace, key.name))
        views = ((pod, self._caches.pods.get(pod)) for pod in sorted(pods))
        return tuple(self._pod(pod, view) for pod, view in views if view is not None)

    def _pod(self, key: Key, view: PodView) -> Pod:
        """The pod; where the kubelet has nothing against it, with its adapter's own words."""
        told = self._observations.unready(key)
        if not told or view.pod.trouble.reason:
            return view.pod
        return replace(view.pod, trouble=Trouble(REPLICA_FAILING, told))

    def _now(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
