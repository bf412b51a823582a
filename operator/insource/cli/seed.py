"""What a local installation needs in its API server before the other programs start, and the credentials for them.

Applying it again changes nothing; keys and tokens that exist already are kept.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import yaml

from insource.api import meta
from insource.cli.certificates import ensure_certificates
from insource.cli.local_vendors import LOCAL_VENDORS, LocalVendor
from insource.cli.roles import COMPONENTS, component_roles, people_roles, user
from insource.cli.state import Layout, replace_file
from insource.env import Env
from insource.kube import resources
from insource.kube.client import Client

NAMESPACE = "voice"
"""Namespace of the examples, and of the person's kubeconfig."""
CLIENT = "example-app"
FIELD_MANAGER = "insource-up"
LEDGER_TOKEN_SECONDS = 3600


def write_credentials(layout: Layout, api_url: str, env: Env) -> None:
    """Tokens and kubeconfigs for the person and for each program, the client's key, the vendors' keys, the master."""
    ensure_certificates(layout.ca, layout.certificate, layout.certificate_key, env.clock.now())
    before = _read_tokens(layout)
    tokens = {name: before.get(name) or env.ids.secret() for name in ("admin", *COMPONENTS)}
    # Kubernetes' own format for static tokens: token,user,uid,"group,...".
    lines = [f'{tokens["admin"]},admin,admin,"system:masters"']
    lines += [f'{tokens[name]},{_user_name(name)},{name},"insource:components"' for name in COMPONENTS]
    replace_file(layout.tokens, "\n".join(lines) + "\n", mode=0o600)
    replace_file(layout.kubeconfig, _kubeconfig(layout, api_url, "admin", tokens["admin"]), mode=0o600)
    for name in COMPONENTS:
        replace_file(layout.component_kubeconfig(name), _kubeconfig(layout, api_url, name, tokens[name]), mode=0o600)
    keys = (
        (layout.api_key, "sk-insource-"),
        *((layout.vendor_key(vendor.name), "sk-emulated-") for vendor in LOCAL_VENDORS),
        (layout.gateway_master, ""),
    )
    for path, prefix in keys:
        if not path.exists():
            replace_file(path, prefix + env.ids.secret() + "\n", mode=0o600)


async def seed_cluster(client: Client, layout: Layout, emulator_urls: Mapping[str, str]) -> None:
    """Namespaces, roles, service accounts, the client's key, and the emulated vendors with their keys."""
    for resource, obj in objects(layout, emulator_urls):
        await client.apply(resource, obj, field_manager=FIELD_MANAGER, force=True)


async def write_ledger_tokens(client: Client, layout: Layout) -> None:
    """Fresh tokens with which the gateway and the person's commands speak to the ledger."""
    for account, path in (
        ("insource-gateway", layout.gateway_ledger_token),
        ("insource-cli", layout.reader_ledger_token),
    ):
        issued = await client.token_request(
            meta.SYSTEM_NAMESPACE, account, [meta.LEDGER_AUDIENCE], LEDGER_TOKEN_SECONDS
        )
        replace_file(path, issued["token"], mode=0o600)


def objects(layout: Layout, emulator_urls: Mapping[str, str]) -> list[tuple[resources.Resource, dict[str, Any]]]:
    """What `seed_cluster` applies, in order. `emulator_urls` has one for each of `LOCAL_VENDORS`."""
    system = meta.SYSTEM_NAMESPACE
    key = layout.api_key.read_text().strip()
    return [
        (resources.NAMESPACES, _object("v1", "Namespace", system)),
        (resources.NAMESPACES, _object("v1", "Namespace", NAMESPACE)),
        *(pair for name in COMPONENTS for pair in component_roles(name, system, user(_user_name(name)))),
        *people_roles(),
        (resources.SERVICE_ACCOUNTS, _object("v1", "ServiceAccount", "insource-gateway", system)),
        (resources.SERVICE_ACCOUNTS, _object("v1", "ServiceAccount", "insource-cli", system)),
        (resources.SECRETS, _client_secret(system, key)),
        *(pair for vendor in LOCAL_VENDORS for pair in _vendor(vendor, layout, emulator_urls[vendor.name])),
    ]


def _user_name(component: str) -> str:
    return f"insource:{component}"


def _vendor(vendor: LocalVendor, layout: Layout, url: str) -> list[tuple[resources.Resource, dict[str, Any]]]:
    key = layout.vendor_key(vendor.name).read_text().strip()
    spec: dict[str, Any] = {
        "dialect": vendor.dialect.value,
        "endpoint": f"{url}{vendor.path}",
        "credentials": {"secretRef": {"name": vendor.secret, "key": "key"}},
    }
    if vendor.requests_per_minute:
        spec["limits"] = {"requestsPerMinute": vendor.requests_per_minute}
    return [
        (resources.SECRETS, _secret(vendor.secret, NAMESPACE, key)),
        (resources.VENDORS, {**_object(meta.API_VERSION, "Vendor", vendor.name, NAMESPACE), "spec": spec}),
    ]


def _client_secret(namespace: str, key: str) -> dict[str, Any]:
    secret = _secret(f"client-{CLIENT}", namespace, key)
    secret["metadata"]["labels"] = {meta.LABEL_CLIENT: CLIENT}
    secret["metadata"]["annotations"] = {meta.ANNOTATION_NAMESPACES: NAMESPACE}
    return secret


def _secret(name: str, namespace: str, key: str) -> dict[str, Any]:
    data = {"key": base64.b64encode(key.encode()).decode()}
    return {**_object("v1", "Secret", name, namespace), "type": "Opaque", "data": data}


def _object(api_version: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
    metadata = {"name": name} if namespace is None else {"name": name, "namespace": namespace}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _read_tokens(layout: Layout) -> dict[str, str]:
    if not layout.tokens.exists():
        return {}
    rows = (line.split(",") for line in layout.tokens.read_text().splitlines() if line.count(",") >= 2)
    return {row[2]: row[0] for row in rows}


def _kubeconfig(layout: Layout, api_url: str, user: str, token: str) -> str:
    authority = base64.b64encode(layout.ca.read_bytes()).decode()
    text: str = yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "insource", "cluster": {"server": api_url, "certificate-authority-data": authority}}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [
                {"name": "insource", "context": {"cluster": "insource", "user": user, "namespace": NAMESPACE}}
            ],
            "current-context": "insource",
        },
        sort_keys=False,
    )
    return text
