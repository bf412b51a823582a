"""Who a bearer token is: static tokens, and ServiceAccount tokens (signed, audience-bound, expiring, bound to a pod).

Knows nothing of HTTP. Tokens are never logged and never part of an error.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from insource.env import Env
from insource.local.store import Store
from insource.local.store_admission import timestamp
from insource.local.store_errors import Cause, Object, bad_request, invalid

API_AUDIENCE = "https://kubernetes.default.svc"
ISSUER = "insource-local"
DEFAULT_EXPIRATION_S = 3600
MINIMUM_EXPIRATION_S = 600
NODE_NAME = "authentication.kubernetes.io/node-name"
_HEADER = {"alg": "HS256", "typ": "JWT"}


@dataclass(frozen=True)
class User:
    """An authenticated caller."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ("system:authenticated",)
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def as_object(self) -> Object:
        shown: Object = {"username": self.name, "groups": list(self.groups)}
        if self.uid:
            shown["uid"] = self.uid
        if self.extra:
            shown["extra"] = {key: list(values) for key, values in self.extra.items()}
        return shown


def read_static_tokens(path: Path) -> dict[str, User]:
    """A Kubernetes static token file: lines `token,user,uid[,"group1,group2"]`. Raises ValueError naming the line."""
    users = {}
    for number, row in enumerate(csv.reader(path.read_text().splitlines()), 1):
        if not row or row[0].startswith("#"):
            continue
        if len(row) < 3 or not row[0]:
            raise ValueError(f"{path}, line {number}: expected token,user,uid[,groups]")
        groups = tuple(filter(None, row[3].split(","))) if len(row) > 3 else ()
        users[row[0]] = User(row[1], row[2], (*groups, "system:authenticated"))
    return users


def signing_key(directory: Path, env: Env) -> bytes:
    """The key that signs ServiceAccount tokens, kept in `directory` (mode 600) and made on first use."""
    path = directory / "service-account.key"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(env.ids.secret(32))
    return path.read_bytes()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Tokens:
    """Issues and checks tokens. `static` maps a token to its user."""

    def __init__(self, store: Store, env: Env, static: Mapping[str, User], key: bytes) -> None:
        self._store = store
        self._env = env
        self._key = key
        # By digest, so that a lookup's timing says nothing about the tokens.
        self._static = {hashlib.sha256(token.encode()).digest(): user for token, user in static.items()}

    def now(self) -> str:
        return timestamp(self._env.clock.now())

    def user(self, token: str, audiences: Sequence[str] = (API_AUDIENCE,)) -> tuple[User, list[str]] | None:
        """The user and those of `audiences` that the token is good for; None if it is not good for any."""
        static = self._static.get(hashlib.sha256(token.encode()).digest())
        if static is not None:
            return static, list(audiences)
        claims = self._claims(token)
        if claims is None:
            return None
        shared = [audience for audience in audiences if audience in claims.get("aud", ())]
        user = self._account(claims)
        return (user, shared) if shared and user is not None else None

    def _claims(self, token: str) -> Object | None:
        try:
            signed, _, signature = token.rpartition(".")
            if not hmac.compare_digest(self._signature(signed), signature):
                return None
            claims = json.loads(_decode(signed.partition(".")[2]))
        except (ValueError, TypeError):
            return None
        if not isinstance(claims, dict) or claims.get("exp", 0) <= self._env.clock.now().timestamp():
            return None
        return claims

    def _signature(self, signed: str) -> str:
        return _encode(hmac.new(self._key, signed.encode(), hashlib.sha256).digest())

    def _account(self, claims: Object) -> User | None:
        """The ServiceAccount of a token, if it and the pod the token is bound to still exist."""
        bound = claims["kubernetes.io"]
        namespace, account = bound["namespace"], bound["serviceaccount"]
        found = self._store.find(("", "serviceaccounts"), namespace, account["name"])
        if found is None or found["metadata"]["uid"] != account["uid"]:
            return None
        extra: dict[str, list[str]] = {}
        pod = bound.get("pod")
        if pod is not None:
            live = self._store.find(("", "pods"), namespace, pod["name"])
            if live is None or live["metadata"]["uid"] != pod["uid"]:
                return None
            extra = {
                "authentication.kubernetes.io/pod-name": [pod["name"]],
                "authentication.kubernetes.io/pod-uid": [pod["uid"]],
            }
            if "node" in bound:
                extra[NODE_NAME] = [bound["node"]["name"]]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return User(claims["sub"], account["uid"], groups, extra)

    def request(self, namespace: str, account: str, spec: Object) -> Object:
        """A TokenRequest's answer. Raises ApiError 404 (no such account or pod), 400."""
        found = self._store.get(("", "serviceaccounts"), namespace, account)
        audiences = list(spec.get("audiences") or [API_AUDIENCE])
        seconds = int(spec.get("expirationSeconds") or DEFAULT_EXPIRATION_S)
        if seconds < MINIMUM_EXPIRATION_S:
            said = f"Invalid value: {seconds}: may not specify a duration less than 10 minutes"
            cause = Cause("FieldValueInvalid", said, "spec.expirationSeconds")
            raise invalid("TokenRequest", "authentication.k8s.io", "", [cause])
        now = int(self._env.clock.now().timestamp())
        bound: Object = {
            "namespace": namespace,
            "serviceaccount": {"name": account, "uid": found["metadata"]["uid"]},
        }
        reference = spec.get("boundObjectRef")
        if reference:
            if reference.get("kind") != "Pod":
                raise bad_request("spec.boundObjectRef: only Pods can be bound here")
            pod = self._store.get(("", "pods"), namespace, str(reference.get("name")))
            if reference.get("uid") and reference["uid"] != pod["metadata"]["uid"]:
                raise bad_request(f"spec.boundObjectRef.uid is not the uid of pod {reference['name']}")
            bound["pod"] = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
            if pod["spec"].get("nodeName"):
                bound["node"] = {"name": pod["spec"]["nodeName"]}
        claims = {
            "iss": ISSUER,
            "sub": f"system:serviceaccount:{namespace}:{account}",
            "aud": audiences,
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            "kubernetes.io": bound,
        }
        signed = ".".join(_encode(json.dumps(part, separators=(",", ":")).encode()) for part in (_HEADER, claims))
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": account,
                "namespace": namespace,
                "uid": self._env.ids.uuid(),
                "creationTimestamp": self.now(),
            },
            "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": reference},
            "status": {
                "token": f"{signed}.{self._signature(signed)}",
                "expirationTimestamp": timestamp(datetime.fromtimestamp(now + seconds, UTC)),
            },
        }

    def review(self, spec: Object) -> Object:
        """A TokenReview's answer."""
        asked = list(spec.get("audiences") or [])
        found = self.user(str(spec.get("token") or ""), asked or [API_AUDIENCE])
        if found is None:
            status: Object = {"authenticated": False, "error": "the token is invalid, expired, or for another audience"}
        else:
            user, audiences = found
            status = {"authenticated": True, "user": user.as_object(), "audiences": audiences}
        kept = {"audiences": asked} if asked else {}
        return {
            "kind": "TokenReview",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {},
            "spec": kept,
            "status": status,
        }
