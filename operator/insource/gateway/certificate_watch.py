"""The certificate that clients are shown: when it expires, and whether a newer pair was refused. Told, not repaired."""

from __future__ import annotations

from datetime import timedelta

import structlog

from insource.env import Env
from insource.gateway.envoy_admin import Certificate, EnvoyAdmin

LOOK_S = 5.0
SOON = timedelta(days=7)
_log = structlog.get_logger(__name__)


class CertificateWatch:
    """What is known of one Envoy's certificate, from its admin. Without TLS there is nothing to know."""

    def __init__(self, envoy: EnvoyAdmin, env: Env) -> None:
        self._envoy = envoy
        self._env = env
        self._due = 0.0
        self._told: set[tuple[str, str]] = set()
        self.certificate: Certificate | None = None
        """The one that expires first."""
        self.refused_total = 0
        """How often a new pair was not usable and the old one stayed."""

    async def look(self) -> None:
        """Ask, if it is time. Raises what `EnvoyAdmin` raises."""
        now = self._env.clock.monotonic()
        if now < self._due:
            return
        self._due = now + LOOK_S
        found = await self._envoy.certificates()
        certificate = min(found, key=lambda each: each.expires, default=None)
        refused = await self._envoy.certificates_refused() if certificate else 0
        # No await from here on: what a scrape shows has been told, too.
        self.certificate = certificate
        if certificate is None:
            return
        if refused > self.refused_total:
            _log.error(
                "certificate_refused",
                reason="tls.crt and tls.key are missing, incomplete or no pair; the ones before are served on",
                serving=certificate.serial,
            )
        self.refused_total = refused
        self._tell_expiry(certificate)

    def expiry_s(self) -> float:
        """Seconds until the certificate expires; negative once it has."""
        assert self.certificate is not None
        return (self.certificate.expires - self._env.clock.now()).total_seconds()

    def _tell_expiry(self, certificate: Certificate) -> None:
        left = timedelta(seconds=self.expiry_s())
        if left > SOON:
            return
        word = "certificate_expires_soon" if left > timedelta() else "certificate_expired"
        if (word, certificate.serial) not in self._told:
            self._told.add((word, certificate.serial))
            tell = _log.warning if left > timedelta() else _log.error
            tell(word, serial=certificate.serial, expires=certificate.expires.isoformat())
