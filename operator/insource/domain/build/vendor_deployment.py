"""The Deployment of a Vendor's adapter: the only pods that hold the vendor's key."""

from __future__ import annotations

from typing import Any

from insource.api import meta
from insource.api.vendor import VendorSpec
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
CA_DIR = "/var/run/insource/vendor-ca"
CA_KEY = "ca.crt"
"""Of an inline bundle, in the ConfigMap of the routes: an edit of it restarts nothing."""
PROXY_DIR = "/var/run/insource/proxy-credentials"
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
        variable("INSOURCE_DIALECT", vendor.spec.dialect.value),
        variable("INSOURCE_ENDPOINT", vendor.spec.endpoint),
        variable("INSOURCE_VENDOR_KEY_FILE", f"{KEY_DIR}/{secret.key}"),
        variable("INSOURCE_VENDOR_SECRET", f"{secret.name}/{secret.key}"),
        variable("INSOURCE_ROUTES_FILE", f"{ROUTES_DIR}/{ROUTES_KEY}"),
        variable("INSOURCE_REQUESTS_PER_MINUTE", str(limits.requests_per_minute if limits else 0)),
        variable("INSOURCE_CONCURRENCY", str(limits.concurrency if limits else 0)),
        *_version_environment(vendor.spec),
        *_way_environment(vendor.spec),
    ]
    way_mounts, way_volumes = _way_files(vendor.spec)
    mounts = [
        {"name": "vendor-key", "mountPath": KEY_DIR, "readOnly": True},
        {"name": "routes", "mountPath": ROUTES_DIR, "readOnly": True},
        *way_mounts,
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
                            *way_volumes,
                        ],
                    },
                },
            }
        },
    )


def _version_environment(spec: VendorSpec) -> list[dict[str, Any]]:
    """For those that have one: the template of all others stays what it was."""
    return [variable("INSOURCE_API_VERSION", spec.api_version)] if spec.api_version else []


def _way_environment(spec: VendorSpec) -> list[dict[str, Any]]:
    """Proxy and private CA, for those that have one: the template of all others stays what it was."""
    found = []
    if spec.proxy is not None:
        found.append(variable("INSOURCE_PROXY_URL", spec.proxy.url))
        if spec.proxy.credentials is not None:
            secret = spec.proxy.credentials.secret_ref
            found.append(variable("INSOURCE_PROXY_CREDENTIALS_FILE", f"{PROXY_DIR}/{secret.key}"))
            found.append(variable("INSOURCE_PROXY_SECRET", f"{secret.name}/{secret.key}"))
    if spec.ca_bundle is not None:
        reference = spec.ca_bundle.config_map_ref
        if reference is None:
            found.append(variable("INSOURCE_CA_FILE", f"{ROUTES_DIR}/{CA_KEY}"))
            found.append(variable("INSOURCE_CA_SOURCE", "spec.caBundle.inline"))
        else:
            found.append(variable("INSOURCE_CA_FILE", f"{CA_DIR}/{reference.key}"))
            found.append(variable("INSOURCE_CA_SOURCE", f"ConfigMap {reference.name}/{reference.key}"))
    return found


def _way_files(spec: VendorSpec) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Mounts and volumes of the same."""
    mounts, volumes = [], []
    if spec.proxy is not None and spec.proxy.credentials is not None:
        secret = spec.proxy.credentials.secret_ref
        mounts.append({"name": "proxy-credentials", "mountPath": PROXY_DIR, "readOnly": True})
        volumes.append({"name": "proxy-credentials", "secret": {"secretName": secret.name, "optional": True}})
    if spec.ca_bundle is not None and spec.ca_bundle.config_map_ref is not None:
        reference = spec.ca_bundle.config_map_ref
        mounts.append({"name": "vendor-ca", "mountPath": CA_DIR, "readOnly": True})
        volumes.append({"name": "vendor-ca", "configMap": {"name": reference.name, "optional": True}})
    return mounts, volumes
