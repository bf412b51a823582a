"""What a server says it serves, in both forms, of the kinds that both servers have."""

from __future__ import annotations

from typing import Any

from tests.contract.observed.observer import GROUP, Observer

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
SERVED = {
    "/api/v1": (
        "configmaps", "events", "namespaces", "nodes", "persistentvolumeclaims", "pods", "secrets", "serviceaccounts",
        "services",
    ),
    "/apis/apps/v1": ("controllerrevisions", "deployments", "replicasets"),
    "/apis/apiextensions.k8s.io/v1": ("customresourcedefinitions",),
    "/apis/authentication.k8s.io/v1": ("selfsubjectreviews", "tokenreviews"),
    "/apis/authorization.k8s.io/v1": ("selfsubjectaccessreviews", "selfsubjectrulesreviews"),
    "/apis/coordination.k8s.io/v1": ("leases",),
    "/apis/discovery.k8s.io/v1": ("endpointslices",),
    "/apis/events.k8s.io/v1": ("events",),
    f"/apis/{GROUP}/v1alpha1": ("widgets",),
}  # fmt: skip
SUBRESOURCES = ("finalize", "log", "scale", "status", "token")
"""Those that the embedded server has; the others it refuses, and does not announce."""


def discovery(o: Observer) -> None:
    aggregated: dict[str, Any] = {}
    for root in ("/api", "/apis"):
        for group in o.get(root, accept=AGGREGATED).body["items"]:
            for version in group["versions"]:
                name = group["metadata"].get("name", "")
                path = f"/apis/{name}/{version['version']}" if name else f"/api/{version['version']}"
                aggregated.update({f"{path} {each['resource']}": each for each in version["resources"]})
    for path, plurals in SERVED.items():
        legacy = {each["name"]: each for each in o.get(path).body["resources"]}
        for plural in plurals:
            o.see(f"discovery {path} {plural}", legacy[plural])
            for sub in SUBRESOURCES:
                if f"{plural}/{sub}" in legacy:
                    o.see(f"discovery {path} {plural}/{sub}", legacy[f"{plural}/{sub}"])
            seen = aggregated[f"{path} {plural}"]
            if "subresources" in seen:
                kept = [each for each in seen["subresources"] if each["subresource"] in SUBRESOURCES]
                seen = {**seen, "subresources": kept}
            o.see(f"aggregated {path} {plural}", seen)
    o.see("discovery of a group", o.get(f"/apis/{GROUP}").body)
    o.see("discovery /api", o.get("/api").body["versions"])
