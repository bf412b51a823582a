"""The Deployment of a Vendor's adapter: the only pods that hold the vendor's key."""

from __future__ import annotations

from insource.api import meta
from insource.domain.build.objects import manifest
from insource.domain.build.pod import (
    GRACE_BEYOND_REQUEST_S,
    adapter_container,
    adapter_environment,
    adapter_volumes,
    pod_base,
    pull_secrets,
    variable,
)
from insource.domain.names import vendor_adapter_name
from insource.domain.snapshot import Manifest, Settings, Vendor

KEY_DIR = "/var/run/insource/vendor-key"
ROUTES_DIR = "/var/run/insource/routes"
ROUTES_KEY = "routes.json"
LONGEST_REQUEST_S = 3600
"""Of any ModelDeployment (the schema's bound): the adapter serves them all, and its template must not follow each."""


def build_vendor_deployment(vendor: Vendor, settings: Settings) -> Manifest:
    """The adapter's Deployment; the key is an optional mount, so that a missing Secret is told, not hung on."""
    name = vendor_adapter_name(vendor.name)
    labels = {meta.LABEL_VENDOR: vendor.name}
    secret, limits = vendor.spec.credentials.secret_ref, vendor.spec.limits
    environment = [
        *adapter_environment(settings, namespace=vendor.namespace, kind="vendor", drain_grace_s=LONGEST_REQUEST_S),
        variable("INSOURCE_VENDOR", vendor.name),
        variable("INSOURCE_DIALECT", vendor.spec.dialect),
        variable("INSOURCE_ENDPOINT", vendor.spec.endpoint),
        variable("INSOURCE_VENDOR_KEY_FILE", f"{KEY_DIR}/{secret.key}"),
        variable("INSOURCE_VENDOR_SECRET", f"{secret.name}/{secret.key}"),
        variable("INSOURCE_ROUTES_FILE", f"{ROUTES_DIR}/{ROUTES_KEY}"),
        variable("INSOURCE_REQUESTS_PER_MINUTE", str(limits.requests_per_minute if limits else 0)),
        variable("INSOURCE_CONCURRENCY", str(limits.concurrency if limits else 0)),
    ]
    mounts = [
        {"name": "vendor-key", "mountPath": KEY_DIR, "readOnly": True},
        {"name": "routes", "mountPath": ROUTES_DIR, "readOnly": True},
    ]
    return manifest(
        "apps/v1",
        "Deployment",
        name=name,
        namespace=vendor.namespace,
        labels=labels,
        owner=vendor,
        body={
            "spec": {
                "replicas": vendor.spec.replicas,
                "revisionHistoryLimit": 2,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": {meta.LABEL_MANAGED_BY: meta.MANAGED_BY, **labels}},
                    "spec": {
                        **pod_base(LONGEST_REQUEST_S + GRACE_BEYOND_REQUEST_S),
                        **pull_secrets(settings),
                        "containers": [adapter_container(settings, environment, mounts)],
                        "volumes": [
                            *adapter_volumes(),
                            {"name": "vendor-key", "secret": {"secretName": secret.name, "optional": True}},
                            {"name": "routes", "configMap": {"name": name, "optional": True}},
                        ],
                    },
                },
            }
        },
    )
