"""Services as a built-in kind: their defaults. Here every one is headless: no proxy would serve a cluster address.

Source: k8s.io/kubernetes, pkg/apis/core/v1/defaults.go, pkg/registry/core/service/storage/alloc.go.
"""

from __future__ import annotations

from insource.local.store_errors import Object

_AFFINITY_S = 10_800


def prepare_service(obj: Object, old: Object | None) -> None:
    """Fill in what nobody has said."""
    spec = obj.setdefault("spec", {})
    spec["type"] = spec.get("type") or "ClusterIP"
    spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    if spec["sessionAffinity"] == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        config.setdefault("timeoutSeconds", _AFFINITY_S)
    for port in spec.get("ports") or []:
        port["protocol"] = port.get("protocol") or "TCP"
        port["targetPort"] = port.get("targetPort") or port.get("port")
    before = (old or {}).get("spec") or {}
    if spec["type"] == "ExternalName":
        return
    for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if name in before and not spec.get(name):
            spec[name] = before[name]
    spec["clusterIP"] = spec.get("clusterIP") or "None"
    spec.setdefault("internalTrafficPolicy", "Cluster")
    spec["clusterIPs"] = spec.get("clusterIPs") or [spec["clusterIP"]]
    # Whose endpoints come from somebody else may be of both families.
    families = ["IPv4"] if spec.get("selector") else ["IPv4", "IPv6"]
    spec["ipFamilies"] = spec.get("ipFamilies") or families
    spec["ipFamilyPolicy"] = spec.get("ipFamilyPolicy") or ("SingleStack" if len(families) == 1 else "RequireDualStack")
