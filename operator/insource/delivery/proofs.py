"""Credentials for buckets: requests signed with a pair of keys, or a Google service account's access token."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from awscrt.auth import (
    AwsCredentialsProvider,
    AwsSignatureType,
    AwsSignedBodyHeaderType,
    AwsSignedBodyValue,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.crypto import RSA, RSASignatureAlgorithm
from awscrt.http import HttpHeaders, HttpRequest

from insource.delivery.buckets import SERVICE_ACCOUNT
from insource.delivery.connection import CheckedConnection, Reach
from insource.delivery.problems import AGAIN, DeliveryError, TransientError
from insource.delivery.transfer import host_of, target_of, transient
from insource.env import Clock

SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFE_S = 3600
_EARLY_S = 300.0
"""So long before its end a token is renewed."""
_LONGEST_ANSWER = 65_536


@dataclass(frozen=True)
class Keys:
    """An access key; signs by AWS Signature Version 4."""

    key: str
    secret_key: str = field(repr=False)
    session: str = field(default="", repr=False)
    clock: Clock = field(kw_only=True)

    def headers(self, address: str, region: str) -> dict[str, str]:
        """The signature of a GET of the address, as headers; of this moment, so a retry needs a new one."""
        request = HttpRequest("GET", target_of(address), HttpHeaders([("Host", host_of(address))]))
        config = AwsSigningConfig(
            algorithm=AwsSigningAlgorithm.V4,
            signature_type=AwsSignatureType.HTTP_REQUEST_HEADERS,
            credentials_provider=AwsCredentialsProvider.new_static(self.key, self.secret_key, self.session or None),
            region=region,
            service="s3",
            date=self.clock.now(),
            # S3 takes the path as it is: an object may be called `a//b` or `a/../b`.
            use_double_uri_encode=False,
            should_normalize_uri_path=False,
            signed_body_value=AwsSignedBodyValue.EMPTY_SHA256,
            signed_body_header_type=AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
        )
        signed = aws_sign_request(request, config).result(timeout=30)
        return {name: value for name, value in signed.headers if name.lower() != "host"}


class ServiceAccount:
    """A Google service account's key (a JSON file), exchanged for an access token as RFC 7523 says."""

    def __init__(self, text: str, secret: str, clock: Clock, reach: Reach) -> None:
        """Raises `DeliveryError` if the text is no such key."""
        self._secret, self._clock, self._reach = secret, clock, reach
        self._token, self._good_until_s = "", 0.0
        try:
            key = json.loads(text)
            self._email, self._id = str(key["client_email"]), str(key.get("private_key_id", ""))
            self._token_uri = str(key.get("token_uri") or "https://oauth2.googleapis.com/token")
            self._key = RSA.new_private_key_from_pem_data(str(key["private_key"]))
            parts = urlsplit(self._token_uri)
            if parts.scheme != "https" or not parts.hostname:
                raise ValueError
        except Exception:  # the binding's own errors have no common base; whatever it is must not show the key
            raise DeliveryError(
                f'Secret "{secret}": key {SERVICE_ACCOUNT} is not the JSON of a service account\'s key (client_email, '
                "private_key, token_uri); put the file there that Google gave you"
            ) from None

    def headers(self, address: str, region: str) -> dict[str, str]:  # noqa: ARG002
        """The token, asked for when there is none that holds for a while."""
        if self._clock.monotonic() >= self._good_until_s:
            self._token, life_s = self._exchanged()
            self._good_until_s = self._clock.monotonic() + life_s - _EARLY_S
        return {"Authorization": f"Bearer {self._token}"}

    def _exchanged(self) -> tuple[str, float]:
        form = urlencode({"grant_type": _GRANT, "assertion": self._assertion(self._clock.now())})
        parts = urlsplit(self._token_uri)
        connection = CheckedConnection(parts.hostname or "", parts.port or 443, self._reach)
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Accept-Encoding": "identity"}
        try:
            with transient(self._token_uri):
                connection.request("POST", target_of(self._token_uri), form, kind)
                answer = connection.getresponse()
                body = answer.read(_LONGEST_ANSWER)
        finally:
            connection.close()
        return self._judged(answer, body)

    def _judged(self, answer: http.client.HTTPResponse, body: bytes) -> tuple[str, float]:
        if answer.status in AGAIN:
            raise TransientError(f"{self._token_uri}: HTTP {answer.status} {answer.reason}")
        try:
            told: Any = json.loads(body)
            if answer.status == 200:
                return str(told["access_token"]), float(told.get("expires_in", _LIFE_S))
            why = str(told.get("error", ""))[:80]
        except (ValueError, KeyError, TypeError, AttributeError):
            why = ""
        raise DeliveryError(
            f"{self._token_uri} gives no token to {self._email}: HTTP {answer.status} {answer.reason} {why}".rstrip()
            + f'; check key {SERVICE_ACCOUNT} in Secret "{self._secret}"'
        )

    def _assertion(self, now: datetime) -> str:
        issued = int(now.timestamp())
        head = {"alg": "RS256", "typ": "JWT", **({"kid": self._id} if self._id else {})}
        claims = {
            "iss": self._email,
            "scope": SCOPE,
            "aud": self._token_uri,
            "iat": issued,
            "exp": issued + _LIFE_S,
        }
        signed = f"{_segment(json.dumps(head).encode())}.{_segment(json.dumps(claims).encode())}"
        digest = hashlib.sha256(signed.encode()).digest()
        return f"{signed}.{_segment(self._key.sign(RSASignatureAlgorithm.PKCS1_5_SHA256, digest))}"


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
