"""The Secret with a source's credentials, as it is mounted: one file for each key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from insource.delivery.access import Access, Credentials
from insource.delivery.buckets import KEY, SECRET_KEY, SERVICE_ACCOUNT, SESSION, Bucket
from insource.delivery.connection import Reach
from insource.delivery.problems import DeliveryError
from insource.env import Clock
from insource.wire.delivery import Wanted, WantedFile

REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
ENDPOINTS = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "gs": ("STORAGE_EMULATOR_HOST",)}
"""The names that clients of these buckets give them, the first one before the second."""


def access_to(wanted: Sequence[Wanted], folder: Path | None, secret: str, clock: Clock, reach: Reach) -> Access:
    """How the source is asked. Raises `DeliveryError` if the Secret is not there or has not what is needed."""
    first = wanted[0] if wanted else None
    url = first.url if isinstance(first, WantedFile) else first.tree if first else ""
    scheme = url.partition("://")[0]
    if scheme in ENDPOINTS:
        return _bucket(scheme, folder, secret, clock, reach)
    if folder is None:
        return Credentials()
    token, username, password = (_text(folder / key) for key in ("token", "username", "password"))
    if not token and not (username and password):
        raise DeliveryError(
            f'Secret "{secret}": there is no such Secret, or it has neither a key `token` nor the keys `username` '
            "and `password`; create it in the ModelDeployment's namespace"
        )
    return Credentials(secret, token, username, password)


def _bucket(scheme: str, folder: Path | None, secret: str, clock: Clock, reach: Reach) -> Bucket:
    if folder is None:
        return Bucket(scheme)
    told = {
        key: _text(folder / key) for key in (KEY, SECRET_KEY, SESSION, SERVICE_ACCOUNT, *REGIONS, *ENDPOINTS[scheme])
    }
    if not any(told.values()):
        keys = f"the keys `{KEY}` and `{SECRET_KEY}`"
        keys = f"{keys}, nor `{SERVICE_ACCOUNT}`" if scheme == "gs" else f"{keys}, nor `{ENDPOINTS['s3'][1]}`"
        raise DeliveryError(
            f'Secret "{secret}": there is no such Secret, or it has neither {keys}; create it in the '
            "ModelDeployment's namespace, or remove sourceCredentials if the bucket is public"
        )
    bucket = Bucket(scheme, endpoint=_endpoint(told, scheme, secret), region=_first(told, REGIONS)[1], secret=secret)
    if scheme == "gs" and told[SERVICE_ACCOUNT]:
        # Only a bucket needs the library behind it.
        from insource.delivery.proofs import ServiceAccount

        bucket.proof = ServiceAccount(told[SERVICE_ACCOUNT], secret, clock, reach)
    elif told[KEY] or told[SECRET_KEY]:
        for key in (KEY, SECRET_KEY):
            if not told[key]:
                raise DeliveryError(f'Secret "{secret}": it has no key `{key}`; add it')
        from insource.delivery.proofs import Keys

        bucket.proof = Keys(told[KEY], told[SECRET_KEY], told[SESSION], clock=clock)
    return bucket


def _endpoint(told: dict[str, str], scheme: str, secret: str) -> str:
    """As it is written, if it is the address of a server; what is refused may hold a password and is not repeated."""
    key, endpoint = _first(told, ENDPOINTS[scheme])
    try:
        parts = urlsplit(endpoint)
        _ = parts.port
        right = parts.scheme == "https" and parts.hostname and not (parts.username or parts.query or parts.fragment)
    except ValueError:
        right = False
    if endpoint and not right:
        raise DeliveryError(f'Secret "{secret}": key `{key}` is not https://host[:port]; only https is fetched')
    return endpoint


def _first(told: dict[str, str], keys: Sequence[str]) -> tuple[str, str]:
    return next(((key, told[key]) for key in keys if told[key]), (keys[0], ""))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
