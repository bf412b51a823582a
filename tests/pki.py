"""A certificate authority for tests, and a folder that changes the way the kubelet changes a mounted Secret."""

import ipaddress
import itertools
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """PEM texts."""

    certificate: str
    key: str
    serial: int

    @property
    def secret(self) -> dict[str, str]:
        """As the data of a kubernetes.io/tls Secret."""
        return {"tls.crt": self.certificate, "tls.key": self.key}


class Authority:
    """A private CA."""

    def __init__(self, name: str = "a private CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=False,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            self._builder(self._name, self._key.public_key(), timedelta(days=100))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, valid_for: timedelta = timedelta(days=90), names: Sequence[str] = ()) -> Pair:
        """A certificate for localhost, 127.0.0.1, and `names`."""
        key = ec.generate_private_key(ec.SECP256R1())
        known: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        known += [x509.DNSName(each) for each in ("localhost", *names)]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        certificate = (
            self._builder(subject, key.public_key(), valid_for)
            .add_extension(x509.SubjectAlternativeName(known), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        return Pair(pem, private.decode(), certificate.serial_number)

    def trusting(self) -> ssl.SSLContext:
        """A client that believes this CA and nobody else."""
        return ssl.create_default_context(cadata=self.pem)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, valid_for: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=10))
            .not_valid_after(now + valid_for)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )


class MountedFolder:
    """A Secret or ConfigMap as the kubelet mounts it: files are links into `..data`, which is swapped whole."""

    def __init__(self, path: Path, content: dict[str, str]) -> None:
        self.path = path
        self._numbers = itertools.count(1)
        path.mkdir()
        self.swap(content)

    def swap(self, content: dict[str, str]) -> None:
        """Show another content, at once."""
        number = next(self._numbers)
        data = self.path / f"..{number}"
        data.mkdir()
        for name, text in content.items():
            (data / name).write_text(text)
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        fresh = self.path / "..data_tmp"
        fresh.symlink_to(data.name)
        fresh.replace(self.path / "..data")
        for link in self.path.iterdir():
            if link.is_symlink() and not link.name.startswith("..") and link.name not in content:
                link.unlink()
