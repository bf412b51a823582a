"""Whether a mounted pair of certificate and key is one that Envoy can start with. No word of ours shows a key."""

from __future__ import annotations

import ssl
from pathlib import Path

from insource.gateway.render.tls import TLS_CERTIFICATE, TLS_KEY


class CertificateError(Exception):
    """There is no usable pair of certificate and key; the message says what is wrong, and shows no key."""


def check_pair(folder: Path) -> None:
    """Raise CertificateError unless Envoy can start with the pair in `folder`.

    Asked before the start only: Envoy would wait for a pair in silence. Later it keeps the one that it has.
    """
    certificate, key = folder / TLS_CERTIFICATE, folder / TLS_KEY
    for path in (certificate, key):
        try:
            path.read_bytes()
        except OSError as error:
            raise CertificateError(
                f"--tls-dir {folder}: {path.name} cannot be read ({error.strerror}): "
                "mount a Secret of type kubernetes.io/tls there, readable for this user"
            ) from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else str(error)
        raise CertificateError(
            f"--tls-dir {folder}: {TLS_CERTIFICATE} and {TLS_KEY} are no pair of PEM certificate and key "
            f"({reason or 'they cannot be parsed'})"
        ) from None


def _no_password() -> str:
    raise ValueError("the key is protected by a password")
