"""TLS at the edge: the pair in a mounted Secret's folder, read anew when the kubelet swaps the folder's content."""

from __future__ import annotations

from typing import Any

from insource.gateway.render import names

Json = dict[str, Any]

TLS_CERTIFICATE, TLS_KEY = "tls.crt", "tls.key"
"""As in every Secret of type kubernetes.io/tls."""


def secrets_file(tls_dir: str) -> Json:
    """The file that `ListenerSettings.tls_file` names: where the pair is, not the pair itself."""
    secret = {
        "@type": names.TYPE + "envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": names.TLS_SECRET,
        "tls_certificate": {
            "certificate_chain": {"filename": f"{tls_dir}/{TLS_CERTIFICATE}"},
            "private_key": {"filename": f"{tls_dir}/{TLS_KEY}"},
            "watched_directory": {"path": tls_dir},
        },
    }
    return {"resources": [secret]}


def tls_socket(secrets: str) -> Json:
    """The edge's transport socket: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1."""
    context = {
        "@type": names.TYPE + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificate_sds_secret_configs": [
                {
                    "name": names.TLS_SECRET,
                    "sds_config": {"resource_api_version": "V3", "path_config_source": {"path": secrets}},
                }
            ],
        },
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}
