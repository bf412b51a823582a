"""The way to a vendor: an egress proxy with its credentials, and whose signature its certificate must bear.

Both come as mounted files that change under a running process; a change is used by the next request.
"""

from __future__ import annotations

import ssl

import aiohttp

from insource.adapter.calls import Way
from insource.adapter.settings import VendorSettings
from insource.adapter.watched_file import WatchedFile, trimmed
from insource.env import Clock

_NONE = "none"
"""Shown to a proxy for which there are no credentials: it is no `user:password`."""


class VendorWay:
    """How one vendor is reached now, and what is missing for it."""

    def __init__(self, settings: VendorSettings, clock: Clock, look_every_s: float) -> None:
        self._settings = settings
        self._credentials: WatchedFile[str] | None = None
        self._authorities: WatchedFile[ssl.SSLContext | None] | None = None
        if settings.proxy_credentials_file is not None:
            self._credentials = WatchedFile(settings.proxy_credentials_file, user_and_password, "", clock, look_every_s)
        if settings.ca_file is not None:
            self._authorities = WatchedFile(settings.ca_file, trusting_only, None, clock, look_every_s)
        self._refused = ""

    def now(self) -> Way:
        """For the next request."""
        credentials = self._credentials.value() if self._credentials else ""
        user, _, password = credentials.partition(":")
        basic = aiohttp.encode_basic_auth(user, password) if credentials else ""
        return Way(
            proxy=self._settings.proxy_url or None,
            proxy_headers={"Authorization": basic} if basic else None,
            tls=self._authorities.value() if self._authorities else None,
        )

    def shown(self) -> str:
        """What the proxy is shown by a request that begins now. For the two below; it is a secret."""
        return self._credentials.value() if self._credentials else _NONE

    def proxy_refuses(self, shown: str) -> None:
        """The proxy has refused a request that showed it this."""
        self._refused = shown

    def proxy_accepts(self, shown: str) -> None:
        """The proxy let such a request through."""
        if self._refused == shown:
            self._refused = ""

    @property
    def credentials_problem(self) -> str:
        """What is wrong with the proxy's credentials; empty if nothing is known to be."""
        settings = self._settings
        if self._credentials is None:
            if self._refused != _NONE:
                return ""
            return f"The proxy {settings.proxy_url} wants credentials (407); name them in spec.proxy.credentials"
        present = self._credentials.value()
        if not present:
            return (
                f"Secret {settings.proxy_secret} is missing or is not user:password; create it with the credentials "
                f"of the proxy {settings.proxy_url}"
            )
        if present == self._refused:
            return (
                f"The proxy {settings.proxy_url} refuses the credentials in Secret {settings.proxy_secret} (407); "
                "replace them"
            )
        return ""

    @property
    def credentials_missing(self) -> bool:
        """True if nothing can be sent for want of the proxy's credentials."""
        return self._credentials is not None and not self._credentials.value()

    @property
    def authorities_problem(self) -> str:
        """Why nobody can be believed; empty if somebody can. Never the system's authorities instead."""
        if self._authorities is None or self._authorities.value() is not None:
            return ""
        return (
            f"the CA bundle of {self._settings.ca_source} is missing, or holds no PEM certificates; "
            f"without it the vendor {self._settings.vendor} cannot be trusted"
        )


def trusting_only(bundle: bytes) -> ssl.SSLContext:
    """A client's TLS that believes these authorities and no others. ValueError if there are none."""
    # Note: create_default_context would take an empty text for none at all, and believe the system's authorities.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # Certificates are ASCII; the comments between them, which Python would refuse, are in any language.
        context.load_verify_locations(cadata=bundle.decode("ascii", "ignore"))
    except ssl.SSLError as problem:
        raise ValueError("no PEM certificates") from problem
    if not context.cert_store_stats()["x509"]:
        raise ValueError("no certificates")
    return context


def user_and_password(content: bytes) -> str:
    """`user:password`. ValueError if it is not."""
    text = trimmed(content)
    if ":" not in text:
        raise ValueError("no user:password")
    return text
