"""Turns changes in the caches into work, and does it. Knows no transport: a simulation runs it as it is.

Who is affected by a change: the owner of a child or pod; every user of a reference; a namespace with its first object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from insource.api import meta
from insource.api.kinds import Misfit
from insource.domain.accelerators import Node
from insource.domain.pod_troubles import NO_TROUBLE, Trouble
from insource.domain.problem import Problem
from insource.domain.snapshot import Settings
from insource.env import Env
from insource.kube import resources
from insource.kube.applier import Applier, NotLeadingError
from insource.kube.cache import Cache, ChangeType
from insource.kube.client import ApiError, Client
from insource.kube.events import EventRecorder
from insource.kube.packed import Packed
from insource.kube.resources import Key, Object, Resource
from insource.kube.workqueue import Lane, Priority, WorkQueue
from insource.reconciler.caches import Caches, PodView, same_spec, vendors_of
from insource.reconciler.catalogue import CatalogueReconciler
from insource.reconciler.observations import Observations
from insource.reconciler.reconcile import NAMESPACE_OBJECTS, Reconciler, Work
from insource.reconciler.refusals import RETRY_AT_MOST_S, RefusedError
from insource.reconciler.statuses import StatusWriter

_FOR_PEOPLE = {Lane.NEWEST_EDIT: 2, Lane.FRESH_EDIT: 2}
"""Places beside the workers' own, which other work, or a change of many, may have taken."""
COUNT_AFTER_S = 2.0
"""Pods and nodes come and go in crowds: what there is of a class is told so long after the first of them."""
_log = structlog.get_logger(__name__)


class Controller:
    """Caches, queue and reconciler, wired. `may_write` is asked before every write."""

    def __init__(
        self,
        client: Client,
        env: Env,
        settings: Settings,
        *,
        identity: str,
        gateway_urls: tuple[str, ...],
        token_digests: Callable[[str], tuple[str, ...]],
        may_write: Callable[[], bool],
        on_write: Callable[[str], None] = lambda _: None,
        builtins: Iterable[Object] = (),
        nodes: bool = True,
    ) -> None:
        more = (resources.NETWORK_POLICIES,) if settings.delivery.network_policies else ()
        self.caches = Caches(more, nodes=nodes)
        self.observations = Observations(gateway_urls)
        self.queue: WorkQueue[Work] = WorkQueue(env)
        self.applier = Applier(
            client,
            self.caches.children,
            field_manager=meta.FIELD_MANAGER,
            may_write=may_write,
            on_write=on_write,
            intent_of=lambda manifest: str(manifest["metadata"]["annotations"][meta.ANNOTATION_APPLIED]),
        )
        recorder = EventRecorder(
            client,
            env,
            controller=f"{meta.GROUP}/operator",
            instance=identity,
            default_namespace=settings.system_namespace,
        )
        statuses = StatusWriter(self.applier, recorder)
        self.catalogue = CatalogueReconciler(
            client,
            self.caches,
            statuses,
            env.clock,
            builtins=builtins,
            may_write=may_write,
            on_write=on_write,
        )
        self.reconciler = Reconciler(
            self.caches, self.observations, self.applier, statuses, self.catalogue, env, settings, token_digests
        )
        self._may_write = may_write
        self._listeners: list[Callable[[Work], None]] = []
        self._subscribe()

    def subscribe(self, listener: Callable[[Work], None]) -> None:
        """Call `listener` after every pass that came to its end: our own writes make no change in the caches' eyes."""
        self._listeners.append(listener)

    def resync(self) -> None:
        """Look at everything again, after whatever a person is waiting for; at the catalogue first: others need it."""
        for cluster_kind, name in self.catalogue.objects():
            self.queue.add(Work("catalogue", "", name, cluster_kind.kind), Priority.EDIT)
        for cache, kind in ((self.caches.deployments, "deployment"), (self.caches.vendors, "vendor")):
            for key in list(cache.keys()):
                self._add(kind, key, Priority.RESYNC)
        self.resync_namespaces()

    def resync_namespaces(self) -> None:
        """Look at every namespace again: the gateway's master has changed, say."""
        for namespace in {key.namespace for key in (*self.caches.deployments.keys(), *self.caches.vendors.keys())}:
            self.queue.add(Work("namespace", namespace), Priority.RESYNC)

    async def run(self, workers: int) -> None:
        """Work until cancelled, on at most `workers` objects at once, and some more if a person waits for them."""
        places = {Lane.ANY: workers, **_FOR_PEOPLE}
        async with asyncio.TaskGroup() as tasks:
            while True:
                tasks.create_task(self.work_on(await self.queue.get(places)))

    async def work_on(self, work: Work) -> None:
        """One pass over one object that was taken from the queue; never raises for what the API does."""
        try:
            if not self._may_write():
                return  # the one who leads does it; all is looked at again when we begin to lead
            again = await self.reconciler.reconcile(work)
            self.queue.forget(work)
            self._tell(work, None)
            if again is not None:
                self.queue.add_after(work, again)
        except NotLeadingError:
            return
        except RefusedError as error:
            self._tell(work, error.refusal.problem)
            delay = self.queue.retry(work, at_least_s=error.refusal.retry_after_s, at_most_s=RETRY_AT_MOST_S)
            _log.warning("write_refused", work=str(work), error=str(error), retry_in_s=round(delay, 2))
        except ApiError as error:
            delay = self.queue.retry(work, at_least_s=error.retry_after or 0.0)
            _log.warning("reconcile_failed", work=str(work), error=str(error), retry_in_s=round(delay, 2))
        except Exception:
            # Note: a defect met by one object must not stop the others; it is logged whole, and tried again.
            delay = self.queue.retry(work)
            _log.exception("reconcile_broke", work=str(work), retry_in_s=round(delay, 2))
        finally:
            self.queue.done(work)

    def _tell(self, work: Work, refused: Problem | None) -> None:
        if work.kind == "namespace" and self.observations.note_refused(work.namespace, refused):
            group = ("namespace", work.namespace)
            for deployment in self.caches.deployments.members(group):
                self._add("deployment", deployment, Priority.CHANGE)
            for vendor in self.caches.vendors.members(group):
                self._add("vendor", vendor, Priority.CHANGE)
        if work.kind == "deployment":
            self._names_changed(work.key)  # our own writes make no change: it may be routed from now on
        for listener in self._listeners:
            listener(work)

    def _subscribe(self) -> None:
        caches = self.caches
        caches.deployments.subscribe(self._deployment_changed)
        caches.vendors.subscribe(self._vendor_changed)
        caches.pods.subscribe(self._pod_changed)
        if caches.nodes is not None:
            caches.nodes.subscribe(self._node_changed)
        caches.models.subscribe(self._reference_changed("CatalogModel"))
        caches.models.subscribe(self._equivalents_changed)
        caches.classes.subscribe(self._reference_changed("AcceleratorClass"))
        caches.runtimes.subscribe(self._runtime_changed)
        for kind, cache in caches.of_catalogue().items():
            cache.subscribe(self._catalogue_changed(kind))
        for kind, children in caches.children.items():
            children.subscribe(self._child_changed(kind))

    def _deployment_changed(self, change: ChangeType, key: Key, old: Any, new: Any) -> None:
        edited = new is not None and (old is None or old.generation != new.generation)
        self._add("deployment", key, Priority.EDIT if edited and _synced(self.caches.deployments) else Priority.RESYNC)
        self._names_changed(key)
        if change == "ADDED" and len(self.caches.deployments.members(("namespace", key.namespace))) == 1:
            self.queue.add(Work("namespace", key.namespace), Priority.EDIT)  # its first
        if change != "MODIFIED" or edited:
            for vendor in vendors_of(old) | vendors_of(new):
                self._add("vendor", Key(key.namespace, vendor), Priority.CHANGE)

    def _names_changed(self, key: Key) -> None:
        """Look again at those that may have won or lost a name by a change of this ModelDeployment."""
        touched = self.caches.names.note(key, self.caches.deployments.get(key))
        if _synced(self.caches.deployments):  # else all are looked at anyway
            for other in sorted(touched):
                self._add("deployment", other, Priority.CHANGE)

    def _vendor_changed(self, change: ChangeType, key: Key, _old: Any, _new: Any) -> None:
        self._add("vendor", key, Priority.EDIT if _synced(self.caches.vendors) else Priority.RESYNC)
        if change != "MODIFIED":
            self.queue.add(Work("namespace", key.namespace), Priority.EDIT)
        self.vendor_users(key)

    def vendor_users(self, vendor: Key) -> None:
        """Look again at every ModelDeployment that uses a Vendor."""
        self._users("Vendor", vendor.namespace, vendor.name)

    def _reference_changed(self, kind: str) -> Callable[..., None]:
        def changed(_change: ChangeType, key: Key, old: Any, new: Any) -> None:
            if not same_spec(old, new):
                self._users(kind, key.name)

        return changed

    def _equivalents_changed(self, _change: ChangeType, _key: Key, old: Any, new: Any) -> None:
        """Vendors of whose models a CatalogModel says until when they are served."""
        if same_spec(old, new):
            return
        models = (model for model in (old, new) if model is not None and not isinstance(model, Misfit))
        for name in sorted({each.vendor for model in models for each in model.spec.vendor_equivalents}):
            for vendor in self.caches.vendors.members(("named", name)):
                self._add("vendor", vendor, Priority.CHANGE)

    def _catalogue_changed(self, kind: Resource) -> Callable[..., None]:
        return lambda _change, key, _old, _new: self.queue.add(Work("catalogue", "", key.name, kind.kind))

    def _runtime_changed(self, _change: ChangeType, key: Key, old: Any, new: Any) -> None:
        if same_spec(old, new):
            return
        self._users("InferenceRuntime", key.name)
        for model in self.caches.models.values():
            if not isinstance(model, Misfit) and any(source.runtime == key.name for source in model.spec.sources):
                self._users("CatalogModel", model.name)

    def _users(self, *group: str) -> None:
        for user in self.caches.deployments.members(group):
            self._add("deployment", user, Priority.CHANGE)

    def _pod_changed(self, _change: ChangeType, key: Key, old: PodView | None, new: PodView | None) -> None:
        for class_, _ in sorted(_counted(old) ^ _counted(new)):
            self._count(class_)
        before, after = _troubles(old), _troubles(new)
        view = new or old
        if view is None or before == after:
            return
        if view.deployment:
            self._add("deployment", Key(key.namespace, view.deployment), Priority.CHANGE)
        if view.pod.vendor:
            self._add("vendor", Key(key.namespace, view.pod.vendor), Priority.CHANGE)

    def _node_changed(self, _change: ChangeType, _key: Key, old: Node | None, new: Node | None) -> None:
        if old != new:
            for key in self.caches.classes.keys():  # noqa: SIM118
                self._count(key.name)

    def _count(self, class_: str) -> None:
        if self.caches.nodes is not None:
            self.queue.add_after(Work("catalogue", "", class_, resources.ACCELERATOR_CLASSES.kind), COUNT_AFTER_S)

    def _child_changed(self, kind: Resource) -> Callable[[ChangeType, Key, Packed | None, Packed | None], None]:
        def changed(_change: ChangeType, key: Key, old: Packed | None, new: Packed | None) -> None:
            child = new or old
            if child is None or (old is not None and new is not None and old.same(new)):
                return
            deployment, vendor = child.labels.get(meta.LABEL_DEPLOYMENT), child.labels.get(meta.LABEL_VENDOR)
            if deployment:
                self._add("deployment", Key(key.namespace, deployment), Priority.CHANGE)
            if vendor:
                self._add("vendor", Key(key.namespace, vendor), Priority.CHANGE)
                if kind is resources.DEPLOYMENTS:
                    self.vendor_users(Key(key.namespace, vendor))
            if (kind, key.name) in NAMESPACE_OBJECTS:
                self.queue.add(Work("namespace", key.namespace), Priority.CHANGE)

        return changed

    def _add(self, kind: Any, key: Key, priority: Priority) -> None:
        self.queue.add(Work(kind, key.namespace, key.name), priority)


def _troubles(view: PodView | None) -> tuple[Trouble, Trouble, float | None, bool]:
    if view is None:
        return NO_TROUBLE, NO_TROUBLE, None, False
    return view.pod.unscheduled, view.pod.trouble, view.pod.unanswered_s, view.pod.downloading


def _counted(view: PodView | None) -> frozenset[tuple[str, int]]:
    """What a change of a pod can change in the counts of a class."""
    return frozenset({(view.class_, view.accelerators)} if view is not None and view.accelerators else ())


def _synced(cache: Cache[Any]) -> bool:
    return cache.synced.is_set()
