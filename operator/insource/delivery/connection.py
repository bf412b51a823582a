"""One HTTPS connection to an address that was checked: what was looked up is what is asked, whatever DNS says next."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from urllib3.util.ssltransport import SSLTransport

from insource.delivery.addresses import Network, bypasses_proxy, literal, refused
from insource.delivery.problems import DeliveryError, TransientError

TIMEOUT_S = 30.0
"""For connecting, and for each read: a source that says nothing for so long is asked anew."""
_LONGEST_ANSWER = 65_536


@dataclass(frozen=True)
class Reach:
    """How sources are reached."""

    tls: ssl.SSLContext
    allowed: Sequence[Network] = ()
    """Ranges beside the public ones."""
    proxy: str = ""
    no_proxy: tuple[str, ...] = ()


class CheckedConnection(http.client.HTTPSConnection):
    """To `host`, directly or through the proxy. Raises `DeliveryError` for an address that may not be asked."""

    def __init__(self, host: str, port: int, network: Reach) -> None:
        super().__init__(host, port, timeout=TIMEOUT_S, context=network.tls)
        self._network = network

    def putheader(self, header: str | bytes, *values: Any) -> None:
        """Raises `DeliveryError` for what is no header: the library's own error would tell a token in full."""
        try:
            super().putheader(header, *values)
        except ValueError:
            name = header.decode("latin-1") if isinstance(header, bytes) else header
            raise DeliveryError(
                f"{self.host} cannot be sent the header {name}: it has a line end, or a character that is not Latin-1; "
                "correct the Secret that it comes from"
            ) from None

    def connect(self) -> None:
        """Look up, check, connect, and prove who answers."""
        network = self._network
        if network.proxy and not bypasses_proxy(self.host, network.no_proxy):
            plain = self._through_proxy()
        else:
            plain = self._direct()
        try:
            if isinstance(plain, ssl.SSLSocket):
                # The proxy itself is spoken to by TLS, and the source by TLS in it; `ssl` cannot wrap its own sockets.
                self.sock = SSLTransport(plain, network.tls, server_hostname=self.host)
            else:
                self.sock = network.tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise

    def _direct(self) -> socket.socket:
        addresses = _looked_up(self.host, self.port)
        _check(self.host, addresses, self._network)
        failure: OSError | None = None
        for address in addresses:
            try:
                return socket.create_connection((address, self.port), TIMEOUT_S)
            except OSError as error:
                failure = error
        raise failure or OSError(f"{self.host} has no address")

    def _through_proxy(self) -> socket.socket:
        """Note: the proxy looks names up, so only an address that is written out can be checked here."""
        address = literal(self.host)
        if address is not None:
            _check(self.host, [str(address)], self._network)
        proxy = urlsplit(self._network.proxy)
        secure = proxy.scheme == "https"
        plain = socket.create_connection((proxy.hostname or "", proxy.port or (443 if secure else 80)), TIMEOUT_S)
        try:
            if secure:
                plain = _proven(plain, proxy.hostname or "", self._network.tls)
            host = f"[{self.host}]" if ":" in self.host else self.host
            _ask_to_connect(plain, f"{host}:{self.port}", proxy.username, proxy.password)
        except BaseException:
            plain.close()
            raise
        return plain


def _proven(plain: socket.socket, proxy: str, tls: ssl.SSLContext) -> ssl.SSLSocket:
    try:
        return tls.wrap_socket(plain, server_hostname=proxy)
    except ssl.SSLCertVerificationError as error:
        raise DeliveryError(
            f"the proxy {proxy}: its certificate is not trusted: {error.verify_message}; "
            "name its CA's ConfigMap in the operator's --download-ca-config-map"
        ) from error


def _looked_up(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise TransientError(f"{host} cannot be looked up: {error.strerror}") from error
    except UnicodeError as error:
        raise DeliveryError(f"{host} is no name that can be looked up") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _check(host: str, addresses: Sequence[str], network: Reach) -> None:
    wrong = refused(addresses, network.allowed)
    if wrong:
        raise DeliveryError(
            f"{host} is at {', '.join(wrong)}, which is not a public address: a download may not ask it; "
            "use a public source, or let the operator's administrator add the range to --delivery-cidr"
        )


def _ask_to_connect(plain: socket.socket, target: str, user: str | None, password: str | None) -> None:
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if user:
        pair = f"{unquote(user)}:{unquote(password or '')}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair).decode()}")
    plain.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < _LONGEST_ANSWER:
        # One byte at a time: what follows belongs to TLS.
        byte = plain.recv(1)
        if not byte:
            raise TransientError(f"the proxy hung up when it was asked for {target}")
        answer += byte
    status = answer.split(b"\r\n", 1)[0].decode("latin-1")
    code = status.split(" ")[1] if status.count(" ") else ""
    if code == "407":
        raise DeliveryError(f"the proxy wants other credentials ({status}); correct the operator's --download-proxy")
    if code != "200":
        raise TransientError(f"the proxy did not connect to {target}: {status}")
