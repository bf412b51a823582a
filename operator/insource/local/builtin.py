"""The kinds that are there before any CRD, with the defaults and checks that clients rely on.

Field names and types are the API's own (`builtin_types`); of its value checks only what is in `check_*`.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from functools import cache

from insource.local import builtin_schemas as schemas
from insource.local.builtin_pods import check_pod, check_pod_spec, prepare_pod, prepare_pod_spec
from insource.local.builtin_rbac import rbac_kinds
from insource.local.builtin_services import prepare_service
from insource.local.builtin_types import closed
from insource.local.schema_nodes import compact
from insource.local.store_errors import Cause, Object, bad_request
from insource.local.store_kinds import ResourceKind, ScalePaths

PROTECTION = "kubernetes.io/pvc-protection"
"""A claim's finalizer, for as long as a pod uses it: see `claim_protection`."""
_FETCH = ("get", "list", "watch")


def _prepare_deployment(obj: Object, _old: Object | None) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("progressDeadlineSeconds", 600)
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")
    prepare_pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))
    obj.setdefault("status", {})


def _prepare_replica_set(obj: Object, _old: Object | None) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    prepare_pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))
    obj.setdefault("status", {"replicas": 0})


def _prepare_namespace(obj: Object, old: Object | None) -> None:
    obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")
    # Only `finalize` changes the finalizers.
    obj["spec"] = {"finalizers": ["kubernetes"]} if old is None else old.get("spec") or {}
    obj.setdefault("status", {}).setdefault("phase", "Active")


def finalized(namespace: Object, sent: Object) -> Object:
    """A Namespace with the finalizers of `sent`, as the subresource `finalize` writes it. Raises ApiError 400."""
    finalizers = (sent.get("spec") or {}).get("finalizers") or []
    if not isinstance(finalizers, list) or not all(isinstance(name, str) for name in finalizers):
        raise bad_request("spec.finalizers must be a list of strings")
    spec = {"finalizers": finalizers} if finalizers else {}
    return {**namespace, "metadata": {**namespace["metadata"]}, "spec": spec}


def _prepare_secret(obj: Object, _old: Object | None) -> None:
    plain = obj.pop("stringData", None) or {}
    if plain:
        data = obj.setdefault("data", {})
        data.update({name: base64.b64encode(value.encode()).decode() for name, value in plain.items()})
    obj.setdefault("type", "Opaque")


def _prepare_claim(obj: Object, old: Object | None) -> None:
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    if old is None:
        obj.setdefault("status", {"phase": "Pending"})
        finalizers = obj["metadata"].setdefault("finalizers", [])
        finalizers += [PROTECTION] if PROTECTION not in finalizers else []


def _prepare_crd(obj: Object, _old: Object | None) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("conversion", {"strategy": "None"})
    names = spec.setdefault("names", {})
    names.setdefault("singular", str(names.get("kind", "")).lower())
    names.setdefault("listKind", f"{names.get('kind', '')}List")


def _check_workload(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj["spec"]
    causes = []
    if not isinstance(spec["replicas"], int) or spec["replicas"] < 0:
        said = f"Invalid value: {compact(spec['replicas'])}: must be greater than or equal to 0"
        causes.append(Cause("FieldValueInvalid", said, "spec.replicas"))
    selector = spec.get("selector")
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if not selector:
        causes.append(Cause("FieldValueRequired", "Required value", "spec.selector"))
    elif any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        said = f"Invalid value: {compact(labels)}: `selector` does not match template `labels`"
        causes.append(Cause("FieldValueInvalid", said, "spec.template.metadata.labels"))
    causes.extend(check_pod_spec(spec["template"]["spec"], "spec.template.spec"))
    if old is not None and old["spec"].get("selector") != selector:
        said = f"Invalid value: {compact(selector)}: field is immutable"
        causes.append(Cause("FieldValueInvalid", said, "spec.selector"))
    return causes


def _check_immutable(obj: Object, old: Object | None) -> list[Cause]:
    if old is None or not old.get("immutable"):
        return []
    changed = [name for name in ("data", "binaryData", "immutable") if obj.get(name) != old.get(name)]
    said = "Forbidden: field is immutable when `immutable` is set"
    return [Cause("FieldValueForbidden", said, name) for name in changed]


def _check_revision(obj: Object, old: Object | None) -> list[Cause]:
    if "revision" not in obj:
        return [Cause("FieldValueRequired", "Required value", "revision")]
    if old is not None and old.get("data") != obj.get("data"):
        said = f"Invalid value: {compact(obj.get('data'))}: field is immutable"
        return [Cause("FieldValueInvalid", said, "data")]
    return []


def _check_lease(obj: Object, _old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = []
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        said = f"Invalid value: {seconds}: must be greater than 0"
        causes.append(Cause("FieldValueInvalid", said, "spec.leaseDurationSeconds"))
    if transitions is not None and transitions < 0:
        said = f"Invalid value: {transitions}: must be greater than or equal to 0"
        causes.append(Cause("FieldValueInvalid", said, "spec.leaseTransitions"))
    return causes


@cache
def builtin_kinds() -> tuple[ResourceKind, ...]:
    """All built-in kinds that are stored."""
    replicas = ScalePaths(".spec.replicas", ".status.replicas", ".spec.selector")
    core: list[ResourceKind] = [
        ResourceKind(
            "", "v1", "namespaces", "namespace", "Namespace", False, ("ns",), (), True, schemas.PLAIN,
            names="label", prepare=_prepare_namespace, selectable_fields=("status.phase",),
            verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
        ),
        ResourceKind(
            "", "v1", "pods", "pod", "Pod", True, ("po",), ("all",), True, schemas.POD,
            prepare=prepare_pod, check=check_pod, generation="spec", subresources=("log",),
            selectable_fields=(
                "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
                "status.phase", "status.podIP",
            ),
        ),
        ResourceKind(
            "", "v1", "services", "service", "Service", True, ("svc",), ("all",), True, schemas.SERVICE,
            prepare=prepare_service, selectable_fields=("spec.clusterIP", "spec.type"),
        ),
        ResourceKind(
            "", "v1", "configmaps", "configmap", "ConfigMap", True, ("cm",), (), False, schemas.PLAIN,
            check=_check_immutable,
        ),
        ResourceKind(
            "", "v1", "secrets", "secret", "Secret", True, (), (), False, schemas.PLAIN,
            prepare=_prepare_secret, check=_check_immutable, selectable_fields=("type",),
        ),
        ResourceKind(
            "", "v1", "serviceaccounts", "serviceaccount", "ServiceAccount", True, ("sa",), (), False,
            schemas.SERVICE_ACCOUNT, subresources=("token",),
        ),
        ResourceKind(
            "", "v1", "events", "event", "Event", True, ("ev",), (), False, schemas.EVENT,
            selectable_fields=(
                "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
                "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
                "reportingComponent", "source", "type",
            ),
        ),
        ResourceKind(
            "", "v1", "nodes", "node", "Node", False, ("no",), (), True, schemas.NODE,
            selectable_fields=("spec.unschedulable",),
        ),
        ResourceKind(
            "", "v1", "persistentvolumeclaims", "persistentvolumeclaim", "PersistentVolumeClaim", True, ("pvc",), (),
            True, schemas.CLAIM, prepare=_prepare_claim,
        ),
        ResourceKind(
            "", "v1", "resourcequotas", "resourcequota", "ResourceQuota", True, ("quota",), (), True, schemas.PLAIN,
            verbs=_FETCH,
        ),
        ResourceKind(
            "", "v1", "limitranges", "limitrange", "LimitRange", True, ("limits",), (), False, schemas.PLAIN,
            verbs=_FETCH,
        ),
    ]  # fmt: skip
    grouped: list[ResourceKind] = [
        ResourceKind(
            "apps", "v1", "deployments", "deployment", "Deployment", True, ("deploy",), ("all",), True,
            schemas.WORKLOAD, prepare=_prepare_deployment, check=_check_workload, generation="spec+annotations",
            scale=replicas,
        ),
        ResourceKind(
            "apps", "v1", "replicasets", "replicaset", "ReplicaSet", True, ("rs",), ("all",), True,
            schemas.WORKLOAD, prepare=_prepare_replica_set, check=_check_workload, generation="spec",
            scale=replicas, selectable_fields=("status.replicas",),
        ),
        ResourceKind(
            "apps", "v1", "controllerrevisions", "controllerrevision", "ControllerRevision", True, (), (), False,
            schemas.struct(metadata=schemas.METADATA, data=schemas.atomic()), check=_check_revision,
        ),
        ResourceKind(
            "discovery.k8s.io", "v1", "endpointslices", "endpointslice", "EndpointSlice", True, (), (), False,
            schemas.struct(metadata=schemas.METADATA), generation="spec",
        ),
        ResourceKind(
            "coordination.k8s.io", "v1", "leases", "lease", "Lease", True, (), (), False, schemas.PLAIN,
            check=_check_lease,
        ),
        ResourceKind(
            "events.k8s.io", "v1", "events", "event", "Event", True, ("ev",), (), False,
            schemas.struct(metadata=schemas.METADATA, regarding=schemas.atomic()),
            selectable_fields=("regarding.kind", "regarding.name", "regarding.namespace", "regarding.uid", "reason"),
        ),
        ResourceKind(
            "apiextensions.k8s.io", "v1", "customresourcedefinitions", "customresourcedefinition",
            "CustomResourceDefinition", False, ("crd", "crds"), ("api-extensions",), True, schemas.CRD,
            prepare=_prepare_crd, generation="spec",
        ),
    ]  # fmt: skip
    kinds = core + grouped + rbac_kinds()
    return tuple(replace(kind, schema=closed(kind.group, kind.kind, kind.schema)) for kind in kinds)
