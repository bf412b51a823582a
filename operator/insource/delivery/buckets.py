"""Buckets of Amazon's S3, of Google's Cloud Storage and of what speaks like S3: addresses, proofs and refusals.

Both are asked by the XML API of S3; Google's own understands it, with HMAC keys as with a service account's token.
"""

from __future__ import annotations

import re
from typing import Protocol
from urllib.parse import quote, urlencode

from insource.delivery.access import Refused

GOOGLE = "https://storage.googleapis.com"
KEY, SECRET_KEY, SESSION = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
SERVICE_ACCOUNT = "GOOGLE_APPLICATION_CREDENTIALS"
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_PLAIN_BUCKET = re.compile(r"[a-z0-9-]{3,63}")
"""With a dot in it, a bucket's name is no name that Amazon's certificate covers."""


class Proof(Protocol):
    """Credentials for a bucket."""

    def headers(self, address: str, region: str) -> dict[str, str]:
        """For a GET of the address. Raises `DeliveryError` or `TransientError` if they have to be asked for."""
        ...


class Bucket:
    """Access to buckets of one scheme. Without a proof it is anonymous, as a public bucket wants it."""

    def __init__(self, scheme: str, *, endpoint: str = "", region: str = "", secret: str = "") -> None:
        self.scheme, self.secret = scheme, secret
        self._endpoint = endpoint.rstrip("/") or (GOOGLE if scheme == "gs" else "")
        self._region = region or ("auto" if scheme == "gs" else "us-east-1")
        self.proof: Proof | None = None

    def address(self, url: str, query: str = "") -> str:
        """Of `s3://bucket/key`. Amazon's own are asked at their region."""
        bucket, _, key = url.partition("://")[2].partition("/")
        path = quote(key, safe="/-._~")
        if self._endpoint:
            address = f"{self._endpoint}/{bucket}/{path}"
        else:
            domain = "amazonaws.com.cn" if self._region.startswith("cn-") else "amazonaws.com"
            at = f"s3.{self._region}.{domain}"
            plain = _PLAIN_BUCKET.fullmatch(bucket)
            address = f"https://{bucket}.{at}/{path}" if plain else f"https://{at}/{bucket}/{path}"
        return f"{address}?{query}" if query else address

    def version(self, version: str | None) -> str:
        """The query that asks for one version of an object."""
        name = "generation" if self.scheme == "gs" else "versionId"
        return urlencode({name: version}) if version else ""

    def headers(self, address: str) -> dict[str, str]:
        """The proof's; none for an anonymous one."""
        return self.proof.headers(address, self._region) if self.proof else {}

    def moved(self, refused: Refused) -> bool:
        """Amazon tells the region of a bucket to whoever asks another one."""
        told = refused.region
        if self._endpoint or not _REGION.fullmatch(told) or told == self._region:
            return False
        self._region = told
        return True

    def advice(self, refused: Refused) -> str:
        """Which key of which Secret is wrong, or what is not there."""
        known = _ADVICE.get(refused.code)
        if known is not None:
            return known.format(secret=f'Secret "{self.secret}"' if self.secret else "the backend's sourceCredentials")
        if refused.status in (401, 403):
            if not self.secret:
                return "it is not public: give the backend sourceCredentials"
            right = "storage.objects.get and .list" if self.scheme == "gs" else "s3:GetObject and s3:ListBucket"
            return f'the credentials in Secret "{self.secret}" may not read it: they need {right}'
        return ""


_ADVICE = {
    "InvalidAccessKeyId": f"nobody has the {KEY} of {{secret}}: correct it",
    "SignatureDoesNotMatch": f"{SECRET_KEY} in {{secret}} does not belong to its {KEY}: correct it",
    "InvalidToken": f"{SESSION} in {{secret}} is none: correct it",
    "ExpiredToken": f"{SESSION} in {{secret}} has run out: renew it",
    "RequestTimeTooSkewed": "the node's clock is wrong: set it",
    "NoSuchBucket": "there is no such bucket: correct the CatalogModel's source",
    "NoSuchKey": "there is no such object (a folder's URI ends with /): correct the CatalogModel's source",
    "NoSuchVersion": "there is no such version of it: correct the CatalogModel's revision",
    "AuthorizationHeaderMalformed": "AWS_REGION in {secret} is not the bucket's region: correct it",
}
