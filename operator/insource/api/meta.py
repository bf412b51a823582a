"""Group, version, labels and annotations: the names by which objects find each other."""

GROUP = "insource.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

SYSTEM_NAMESPACE = "insource-system"
"""Where operator, gateway and ledger run unless the installation says otherwise."""

FIELD_MANAGER = "insource"
CATALOG_FIELD_MANAGER = "insource-catalog"

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "insource"

LABEL_DEPLOYMENT = f"{GROUP}/deployment"
"""Name of the ModelDeployment that an object serves; absent on a Vendor's objects."""
LABEL_BACKEND = f"{GROUP}/backend"
LABEL_REVISION = f"{GROUP}/revision"
LABEL_CLASS = f"{GROUP}/class"
LABEL_MODALITY = f"{GROUP}/modality"
LABEL_VENDOR = f"{GROUP}/vendor"
"""Name of the Vendor whose adapter an object belongs to; absent on in-house objects."""
LABEL_CLIENT = f"{GROUP}/client"
"""On a Secret in the gateway's namespace: the client's name. Its key is under `data.key`."""

ANNOTATION_NAMESPACES = f"{GROUP}/namespaces"
"""On a client Secret: comma-separated namespaces that this client acts for."""
ANNOTATION_COUNT = f"{GROUP}/accelerator-count"
"""On an in-house pod: accelerators of its class that it holds (text of an integer)."""

GATEWAY_TOKENS_CONFIG_MAP = "insource-gateway-tokens"
"""ConfigMap per namespace; `data.sha256` = accepted tokens' SHA-256 in hex, one per line (two while rotating)."""
ADAPTER_SERVICE_ACCOUNT = "insource-adapter"
"""ServiceAccount per namespace that every adapter pod runs as."""
LEDGER_AUDIENCE = "insource-ledger"
"""Audience of the tokens with which adapters and gateway speak to the ledger."""
ANNOTATION_APPLIED = f"{GROUP}/applied"
"""On every object that the operator applies: a digest of what was applied, so that a restart writes nothing."""
