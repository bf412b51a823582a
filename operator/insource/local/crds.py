"""From a CustomResourceDefinition to the kind that it defines. Knows nothing of storage."""

from __future__ import annotations

from insource.local import builtin_schemas as schemas
from insource.local.crd_checks import faults
from insource.local.schema import compile_schema
from insource.local.schema_nodes import Node
from insource.local.store_errors import Object, invalid, unsupported
from insource.local.store_kinds import PrinterColumn, ResourceKind, ScalePaths

CRD_REF = ("apiextensions.k8s.io", "customresourcedefinitions")


def kind_of(crd: Object, old: Object | None = None) -> ResourceKind:
    """The kind that a CRD defines. Raises ApiError 422 for an unusable CRD, 501 for what cannot be enforced here.

    `old`: the CRD as it was, of which some things may not change.
    """
    name = crd["metadata"]["name"]
    spec = crd["spec"]
    causes = faults(crd, old)
    if causes:
        raise invalid("CustomResourceDefinition", "apiextensions.k8s.io", name, causes)
    served = [version for version in spec["versions"] if version.get("served")]
    if len(served) != 1:
        raise unsupported(f"a CRD with {len(served)} served versions (no conversion): {name}")
    version = served[0]
    names = spec["names"]
    declared = version["schema"]["openAPIV3Schema"]
    subresources = version.get("subresources") or {}
    root = compile_schema(declared)
    if not root.struct:
        root = _with_metadata(root)
    scale = subresources.get("scale")
    return ResourceKind(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        singular=names.get("singular") or names["kind"].lower(),
        kind=names["kind"],
        namespaced=spec.get("scope") == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        status_subresource="status" in subresources,
        schema=root,
        printer_columns=tuple(
            PrinterColumn(
                column["name"],
                column["type"],
                column["jsonPath"],
                int(column.get("priority") or 0),
                str(column.get("description") or ""),
            )
            for column in version.get("additionalPrinterColumns") or ()
        ),
        scale=None
        if scale is None
        else ScalePaths(scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath") or ""),
        selectable_fields=tuple(field["jsonPath"].removeprefix(".") for field in version.get("selectableFields") or ()),
        custom=True,
        generation="spec",
        list_kind=names.get("listKind") or "",
        openapi=declared,
    )


def _with_metadata(root: Node) -> Node:
    # The server owns these three at the root, whatever the schema says of them.
    root.properties = {**root.properties, "apiVersion": Node.open(), "kind": Node.open(), "metadata": schemas.METADATA}
    root.struct = True
    return root


def established(crd: Object, now: str) -> Object:
    """The status of a CRD that is served."""
    kept = {item["type"]: item for item in (crd.get("status") or {}).get("conditions") or []}
    conditions = [
        kept.get(kind)
        or {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now}
        for kind, reason, message in (
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        )
    ]
    stored = [version["name"] for version in crd["spec"]["versions"] if version.get("storage")]
    return {"conditions": conditions, "acceptedNames": crd["spec"]["names"], "storedVersions": stored}
