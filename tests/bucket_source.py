"""Buckets over HTTPS: moto's S3, behind checks of who asks (by Amazon's own botocore) and faults on demand."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.model_source import Fault, serving_tls

KEY, SECRET_KEY, SESSION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "session-t0ken"
TOKEN = "ya29.t0ken"


@dataclass
class Buckets:
    """The server and what it was asked."""

    port: int
    ca: Path
    key: rsa.RSAPrivateKey
    app: WSGIApplication
    public: set[str] = field(default_factory=set)
    """Buckets that anybody may read."""
    session: str = ""
    """Requests have to bear it, beside the signature."""
    region: str = "us-east-1"
    faults: dict[str, Fault] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(path with query, Range) of each request for an object or a list."""
    client: Any = None
    made: set[str] = field(default_factory=set)
    tokens: int = 0
    """Access tokens that were given."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def put(self, bucket: str, **objects: bytes) -> None:
        """As `put_all`, for keys that are names."""
        self.put_all(bucket, objects)

    def put_all(self, bucket: str, objects: dict[str, bytes]) -> list[str]:
        """Into a bucket, which is made if it is not there. Their versions."""
        if self.client is None:
            path_style = Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required")
            self.client = boto3.Session(KEY, SECRET_KEY, region_name=self.region).client(
                "s3", endpoint_url=self.url, verify=str(self.ca), config=path_style
            )
        client = self.client
        if bucket not in self.made:
            client.create_bucket(Bucket=bucket)
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            self.made.add(bucket)
        put = [client.put_object(Bucket=bucket, Key=key, Body=body) for key, body in objects.items()]
        self.asked.clear()
        return [str(each["VersionId"]) for each in put]

    def service_account(self, **changes: Any) -> str:
        """Its key, as Google gives it."""
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        told = {
            "type": "service_account",
            "client_email": "models@project.iam.gserviceaccount.com",
            "private_key_id": "k1",
            "private_key": pem,
            "token_uri": f"{self.url}/token",
        }
        return json.dumps({**told, **changes})

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        target, method = str(environ["RAW_URI"]), str(environ["REQUEST_METHOD"])
        path = target.partition("?")[0]
        if path == "/token":
            return self._token(environ, start_response)
        fault = Fault(times=0)
        if method == "GET":
            self.asked.append((target, str(environ.get("HTTP_RANGE", ""))))
            fault = self.faults.get(path, fault)
            active, fault.times = fault.times > 0, fault.times - 1
            fault = fault if active else Fault(times=0)
        code = "" if path.split("/")[1] in self.public and method == "GET" else self._wrong(environ, method, target)
        if code or fault.status:
            status = f"{fault.status} No" if fault.status else "400 Bad" if code == "ExpiredToken" else "403 Forbidden"
            return _xml(start_response, status, code or "InternalError")
        # Whoever came so far is the buckets' owner for moto.
        environ["HTTP_AUTHORIZATION"] = f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/{self.region}/s3/aws4_request"
        body = self.app(environ, start_response)
        return body if fault.cut_after is None else _cut(body, fault.cut_after)

    def _wrong(self, environ: WSGIEnvironment, method: str, target: str) -> str:
        """S3's code for what is wrong with a request's proof, found by computing the signature anew."""
        authorization = str(environ.get("HTTP_AUTHORIZATION", ""))
        if not authorization:
            return "AccessDenied"
        if authorization.startswith("Bearer "):
            return "" if authorization == f"Bearer {TOKEN}" else "AccessDenied"
        parts = dict(item.split("=", 1) for item in authorization.partition(" ")[2].replace(" ", "").split(","))
        key, _, region, *_ = parts["Credential"].split("/")
        if key != KEY:
            return "InvalidAccessKeyId"
        if environ.get("HTTP_X_AMZ_SECURITY_TOKEN", "") != self.session:
            return "ExpiredToken"
        names = parts["SignedHeaders"].split(";")
        headers = {
            name: str(
                environ.get(f"HTTP_{name.upper().replace('-', '_')}", environ.get(name.upper().replace("-", "_")))
            )
            for name in names
        }
        request = AWSRequest(method, f"https://{headers['host']}{target}", headers)
        request.context["timestamp"] = headers["x-amz-date"]
        signer = S3SigV4Auth(Credentials(KEY, SECRET_KEY), "s3", region)
        canonical = signer.canonical_request(request)
        right = signer.signature(signer.string_to_sign(request, canonical), request)
        return "" if right == parts["Signature"] else "SignatureDoesNotMatch"

    def _token(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """RFC 7523: the assertion is signed by the key's owner and meant for us."""
        form = parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
        signed, _, signature = form["assertion"][0].rpartition(".")
        claims = json.loads(_decoded(signed.split(".")[1]))
        now = datetime.now(UTC).timestamp()
        try:
            self.key.public_key().verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            right = claims["aud"] == f"{self.url}/token" and claims["iat"] <= now + 5 and now < claims["exp"]
        except InvalidSignature:
            right = False
        right = right and form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        told = {"access_token": TOKEN, "expires_in": 3599} if right else {"error": "invalid_grant"}
        self.tokens += right
        start_response("200 OK" if right else "400 Bad Request", [("Content-Type", "application/json")])
        return [json.dumps(told).encode()]


def _xml(start_response: StartResponse, status: str, code: str) -> list[bytes]:
    start_response(status, [("Content-Type", "application/xml")])
    return [f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{KEY}</Message></Error>'.encode()]


def _cut(body: Iterable[bytes], after: int) -> Iterator[bytes]:
    """Its beginning; then the connection ends."""
    for block in body:
        yield block[:after]
        after -= len(block)
        if after <= 0:
            raise ConnectionResetError


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        """Nothing is printed."""


@contextlib.contextmanager
def buckets(folder: Path) -> Iterator[Buckets]:
    """Serve until the block ends; certificates are made in `folder`."""
    ca, context = serving_tls(folder)
    signing = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    served = Buckets(0, ca, signing, create_backend_app("s3"))
    server = make_server("127.0.0.1", 0, served, threaded=True, request_handler=_Handler, ssl_context=context)
    served.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield served
    finally:
        if served.client is not None:
            served.client.close()
        server.shutdown()
        server.server_close()
        thread.join()
