"""The control plane's own CA, one token per caller, and kubeconfigs. Nothing here outlives its folder."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from insource.cli.certificates import ensure_certificates

MASTERS = "system:masters"
COMPONENTS = {
    "controller-manager": ("system:kube-controller-manager", MASTERS),
    "scheduler": ("system:kube-scheduler", MASTERS),
    "kwok": ("kwok", MASTERS),
    "admin": ("admin", MASTERS),
}
"""Token name -> (user, groups). The audit log tells them apart by user."""


@dataclass(frozen=True)
class Credentials:
    """Files and tokens in one folder. `users` are callers without any right until a test binds one."""

    folder: Path
    users: Sequence[str] = ()
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        return self.folder / "server.key"

    @property
    def service_account_key(self) -> Path:
        return self.folder / "service-account.key"

    @property
    def token_file(self) -> Path:
        return self.folder / "tokens.csv"

    def write(self) -> None:
        """Make them all."""
        ensure_certificates(self.ca, self.certificate, self.key, datetime.now(UTC))
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        self.service_account_key.touch(mode=0o600)
        self.service_account_key.write_bytes(pem)
        lines = []
        for name in (*COMPONENTS, *self.users):
            self.tokens[name] = secrets.token_urlsafe(24)
            user, *groups = COMPONENTS.get(name, (name,))
            # An empty column would be a group without a name.
            column = f',"{",".join(groups)}"' if groups else ""
            lines.append(f"{self.tokens[name]},{user},{name}{column}\n")
        self.token_file.touch(mode=0o600)
        self.token_file.write_text("".join(lines))

    def kubeconfig(self, name: str, url: str, namespace: str = "default") -> Path:
        """A kubeconfig of one caller."""
        path = self.folder / f"{name}-{namespace}.kubeconfig"
        cluster = {"server": url, "certificate-authority": str(self.ca)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": self.tokens[name]}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name, "namespace": namespace}}],
        }
        # Note: a program that was given it a moment ago may be reading it just now.
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(document))
        fresh.replace(path)
        return path
