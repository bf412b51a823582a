"""Which in-house workloads should exist, which still must, and which may go.

A workload is a ReplicaSet, its Service and its ControllerRevision, all of one name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from insource.api import meta
from insource.domain.build.in_house_replica_set import build_in_house_replica_set
from insource.domain.build.in_house_template import labels_of, render_template, revision_of
from insource.domain.build.pod import GRACE_BEYOND_REQUEST_S
from insource.domain.build.revision import build_revision, stored_request_timeout_s, stored_template
from insource.domain.build.service import build_service
from insource.domain.drift import covers
from insource.domain.names import workload_name
from insource.domain.references import InHouseTarget
from insource.domain.snapshot import Child, Deletion, DeploymentSnapshot, Manifest, Outline

_API_VERSIONS = {"ReplicaSet": "apps/v1", "ControllerRevision": "apps/v1", "Service": "v1"}
SELECTOR_LABELS = (meta.LABEL_DEPLOYMENT, meta.LABEL_BACKEND, meta.LABEL_REVISION)

Children = Mapping[tuple[str, str], Child]
"""By kind and name."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The workload of the wanted in-house revision."""

    name: str
    revision: str
    objects: tuple[Manifest, ...]
    """What it consists of, in the order of creation."""
    request_timeout_s: int
    """The longest request that its pods can finish while stopping, by the stored template."""
    outline: Outline


def wanted_workload(
    snapshot: DeploymentSnapshot, target: InHouseTarget, children: Children, request_timeout_s: int
) -> Workload:
    """The primary's workload, by its stored template if there is one."""
    deployment = snapshot.deployment
    if snapshot.outline is not None and _still_stands(snapshot.outline, snapshot, children):
        known = snapshot.outline
        return Workload(known.name, known.revision, (), known.request_timeout_s, known)
    revision = revision_of(deployment, target)
    name = workload_name(deployment.name, target.backend, target.class_.name, revision)
    labels = labels_of(deployment, target, revision)
    stored = children.get(("ControllerRevision", name))
    template = stored_template(stored)
    objects: list[Manifest] = []
    applied = [("ControllerRevision", stored.applied)] if stored is not None else []
    if template is None:
        template = render_template(
            deployment, target, snapshot.settings, revision=revision, request_timeout_s=request_timeout_s
        )
        order = 1 + max((child.order for child in children.values()), default=0)
        objects.append(build_revision(deployment, name=name, labels=labels, template=template, order=order))
    selector = {key: labels[key] for key in SELECTOR_LABELS}
    objects.append(build_service(deployment, name=name, labels=labels, selector=selector))
    objects.append(
        build_in_house_replica_set(
            deployment, name=name, labels=labels, template=template, replicas=deployment.spec.replicas
        )
    )
    applied += [(item["kind"], item["metadata"]["annotations"][meta.ANNOTATION_APPLIED]) for item in objects]
    limit_s = stored_request_timeout_s(template, GRACE_BEYOND_REQUEST_S)
    outline = Outline(deployment.spec, snapshot.catalogue, name, revision, tuple(applied), limit_s)
    return Workload(name, revision, tuple(objects), limit_s, outline)


def _still_stands(outline: Outline, snapshot: DeploymentSnapshot, children: Children) -> bool:
    """Made from the same things, and every object is live as it was wanted: nothing to build, nothing to apply."""
    if outline.spec is not snapshot.deployment.spec or outline.catalogue is not snapshot.catalogue:
        return False
    for kind, applied in outline.applied:
        child = children.get((kind, outline.name))
        if child is None or child.live is not None or child.applied != applied:
            return False
    return True


def find_replica_set(children: Iterable[Child], backend: str, revision: str) -> Child | None:
    """The live ReplicaSet of an in-house revision."""
    for child in children:
        labels = (child.labels.get(meta.LABEL_BACKEND), child.labels.get(meta.LABEL_REVISION))
        if child.kind == "ReplicaSet" and labels == (backend, revision):
            return child
    return None


def needs_apply(wanted: Manifest, live: Child | None) -> bool:
    """Whether applying `wanted` would change anything, as far as is known."""
    if live is None or live.applied != wanted["metadata"]["annotations"][meta.ANNOTATION_APPLIED]:
        return True
    return live.live is not None and not covers(wanted, live.live)


def differing(wanted: Iterable[Manifest], children: Children) -> tuple[Manifest, ...]:
    """Those of the wanted objects that must be applied."""
    return tuple(item for item in wanted if needs_apply(item, children.get((item["kind"], item["metadata"]["name"]))))


def retirements(
    children: Iterable[Child], namespace: str, *, in_use: frozenset[str], history_limit: int
) -> tuple[Deletion, ...]:
    """Workloads that nobody uses go; of their ControllerRevisions the newest `history_limit` stay for a way back."""
    unused = [child for child in children if child.name not in in_use and child.kind in _API_VERSIONS]
    revisions = sorted(
        (child for child in unused if child.kind == "ControllerRevision"), key=lambda child: -child.order
    )
    gone = [child for child in unused if child.kind != "ControllerRevision"] + revisions[history_limit:]
    return tuple(
        Deletion(_API_VERSIONS[child.kind], child.kind, namespace, child.name, child.uid)
        for child in sorted(gone, key=lambda child: (child.kind, child.name))
    )


def revision_state(name: str, backend: str, revision: str, *, serving: bool, served: bool) -> dict[str, Any]:
    """One entry of `status.revisions`."""
    state = "Serving" if serving else "Starting"
    return {"name": name, "backend": backend, "revision": revision, "state": state, "served": served}
