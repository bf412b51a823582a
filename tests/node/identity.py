"""The node's own certificate authority and a token for each caller. Made anew by each `up`; a `down` deletes them."""

from __future__ import annotations

import ipaddress
import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.node import files
from tests.node.places import Places

CALLERS = {
    "admin": ("admin", "system:masters"),
    "kubelet": ("system:node:{node}", "system:nodes"),
    "kubelet-2": ("system:node:{second}", "system:nodes"),
    "controllers": ("system:kube-controller-manager",),
    "scheduler": ("system:kube-scheduler",),
    "proxy": ("system:kube-proxy",),
    "dns": ("dns",),
    "policies": ("policies",),
}
"""Kubeconfig -> (user, groups)."""
_VALID_FOR = timedelta(days=365)


def write(places: Places) -> None:
    """Every file of `pki`, the tokens and the kubeconfigs."""
    folder = places.run / "pki"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = _Authority()
    _save(folder / "ca.pem", authority.pem)
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    addresses = [places.gateway, "127.0.0.1", places.api_service]
    authority.issue(folder / "api", "kube-apiserver", names, addresses)
    # The second one's, too, should there be one: this authority's key is in no file.
    for name, node in (("kubelet", places), ("kubelet-2", places.second)):
        authority.issue(folder / name, node.name, [node.name], [node.address])
    authority.issue(folder / "to-kubelet", "apiserver-to-kubelet", organisation="system:masters")
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _save(folder / "service-account.key", _pem(private))
    lines = []
    for name, (user, *groups) in CALLERS.items():
        token = secrets.token_urlsafe(24)
        column = f',"{",".join(groups)}"' if groups else ""
        lines.append(f"{token},{user.format(node=places.name, second=places.second.name)},{name}{column}\n")
        _save(places.run / f"{name}.kubeconfig", files.kubeconfig(places, token).encode())
    _save(folder / "tokens.csv", "".join(lines).encode())


class _Authority:
    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("insource-node CA")
        builder = self._builder(self._name, self._key)
        basic = x509.BasicConstraints(ca=True, path_length=0)
        self._certificate = builder.add_extension(basic, critical=True).sign(self._key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, path: Path, name: str, names: list[str] | None = None, addresses: list[str] | None = None,
        organisation: str = "",
    ) -> None:  # fmt: skip
        """`path`.pem and `path`.key: for a server if it has names, else for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_name(name, organisation), key)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            who: list[x509.GeneralName] = [x509.DNSName(each) for each in names]
            who += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses or []]
            builder = builder.add_extension(x509.SubjectAlternativeName(who), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        _save(path.with_suffix(".pem"), certificate.public_bytes(serialization.Encoding.PEM))
        _save(path.with_suffix(".key"), _pem(key))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + _VALID_FOR)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


def _name(common_name: str, organisation: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organisation:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(parts)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _save(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
