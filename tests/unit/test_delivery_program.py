"""The program `insource fetch`: what it is told, what it leaves behind, and its way through a proxy."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cluster.processes import wait_until
from tests.model_source import Fault, Source, model_source, sha256

DATA = b"weights" * 10_000
PATH = "/model.bin"


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    folder = tmp_path / "source"
    folder.mkdir()
    with model_source(folder) as running:
        running.files[PATH] = DATA
        yield running


class Run:
    """The program with its usual flags."""

    def __init__(self, folder: Path, source: Source) -> None:
        self.folder, self.source = folder, source
        self.into, self.message, self.trust = folder / "model", folder / "message", folder / "trust"
        self.trust.mkdir()
        (self.trust / "ca.crt").write_text(source.ca.read_text())
        self.url = source.url(PATH)
        self.log = ""

    def command(self, *flags: str | Path) -> list[str]:
        usual = ["--into", self.into, "--limit", "60", "--message-file", self.message, "--ca-dir", self.trust]
        return [sys.executable, "-m", "insource", "fetch", *map(str, usual), "--allow", "127.0.0.0/8", *map(str, flags)]

    def environment(self, **more: str) -> dict[str, str]:
        files = json.dumps([{"url": self.url, "path": "model.bin", "sha256": sha256(DATA)}])
        return {**os.environ, "INSOURCE_FETCH_FILES": files, **more}

    def __call__(self, *flags: str | Path, **environment: str) -> tuple[int, str]:
        """(exit status, termination message)."""
        done = subprocess.run(
            self.command(*flags),
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        self.log = done.stderr
        return done.returncode, self.message.read_text() if self.message.exists() else ""


@pytest.fixture
def run(tmp_path: Path, source: Source) -> Run:
    return Run(tmp_path, source)


def credentials(folder: Path, **keys: str) -> Path:
    place = folder / "credentials"
    place.mkdir()
    for name, value in keys.items():
        (place / name).write_text(value + "\n")
    return place


def test_it_fetches_and_logs_json_without_the_query(run: Run) -> None:
    run.url += "?X-Signature=s3cret"
    assert run() == (0, "")
    assert (run.into / "model.bin").read_bytes() == DATA
    events = [json.loads(line)["event"] for line in run.log.splitlines()]
    assert events == ["fetching", "fetched"]
    assert "s3cret" not in run.log


def test_a_failure_is_the_exit_status_and_the_message(run: Run) -> None:
    run.source.files[PATH] = b"other"
    code, message = run()
    assert code == 1
    assert f"expected SHA-256 {sha256(DATA)}, found {sha256(b'other')}" in message
    assert [path.name for path in run.into.iterdir()] == [".lock"]


def test_two_replicas_with_one_cache_and_the_first_is_killed(run: Run) -> None:
    """The second one waits, asks for nothing meanwhile, and then goes on where the first was."""
    run.source.files[PATH] = data = DATA * 30
    run.source.faults[PATH] = Fault(hold_after=len(data) // 2, times=1)
    files = json.dumps([{"url": run.url, "path": "model.bin", "sha256": sha256(data)}])
    environment = run.environment(INSOURCE_FETCH_FILES=files)
    first = subprocess.Popen(run.command(), env=environment, stderr=subprocess.DEVNULL)
    second: subprocess.Popen[bytes] | None = None
    try:
        assert run.source.held.wait(60)
        part = run.into / "model.bin.part"
        wait_until(lambda: part.exists() and part.stat().st_size > 0, [], "the first bytes", 60)
        second = subprocess.Popen(run.command(), env=environment, stderr=subprocess.PIPE)
        assert second.stderr is not None
        assert json.loads(second.stderr.readline())["event"] == "waiting_for_another_replica"
        assert run.source.ranges(PATH) == [""]
        first.kill()
        first.wait()
        run.source.go_on.set()
        log = second.communicate(timeout=60)[1].decode()
        assert second.returncode == 0, log
    finally:
        for child in (first, second):
            if child is not None:
                child.kill()
                child.wait()
    assert (run.into / "model.bin").read_bytes() == data
    begun, continued = run.source.ranges(PATH)
    assert begun == ""
    assert 0 < int(continued.removeprefix("bytes=").rstrip("-")) <= len(data) // 2 + 65536


def test_credentials_come_from_files_and_are_not_logged(run: Run) -> None:
    run.source.credentials = "Bearer t0p-s3cret"
    place = credentials(run.folder, token="t0p-s3cret")
    assert run("--credentials-dir", place, "--credentials-secret", "hub") == (0, "")
    assert "t0p-s3cret" not in run.log


@pytest.mark.parametrize("keys", [{}, {"username": "u"}, {"tokn": "x"}])
def test_a_secret_without_what_is_needed_is_named(run: Run, keys: dict[str, str]) -> None:
    code, message = run("--credentials-dir", credentials(run.folder, **keys), "--credentials-secret", "hub")
    assert code == 1
    assert 'Secret "hub": there is no such Secret, or it has neither' in message


def test_a_certificate_that_is_none_is_named(run: Run) -> None:
    (run.trust / "ours.pem").write_text("not a certificate")
    code, message = run()
    assert code == 1
    assert 'key "ours.pem" is no PEM certificate' in message


def test_sigterm_ends_it_at_once(run: Run) -> None:
    run.source.faults[PATH] = Fault(hold_after=0)
    child = subprocess.Popen(run.command(), env=run.environment(), stderr=subprocess.DEVNULL)
    try:
        assert run.source.held.wait(60)
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 128 + signal.SIGTERM
    finally:
        child.kill()
        child.wait()
    assert not (run.into / "model.bin").exists()


@dataclass
class Proxy:
    """A proxy that connects to one place, whatever it is asked for."""

    port: int
    user: str = ""
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def proxy(to: int, user: str = "", tls: Path | None = None) -> Iterator[Proxy]:
    """`tls`: a folder with the certificate by which the proxy itself is spoken to."""
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls / "tls.crt", tls / "tls.key")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = Proxy(listening.getsockname()[1], user)
        thread = threading.Thread(target=_serve, args=(listening, running, to, context))
        thread.start()
        try:
            yield running
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(listening: socket.socket, running: Proxy, to: int, context: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listening.accept()
            with client if context is None else _wrapped(client, context) as connection:
                if connection is not None:
                    _connect(connection, running, to)


@contextlib.contextmanager
def _wrapped(client: socket.socket, context: ssl.SSLContext) -> Iterator[socket.socket | None]:
    """None: who connected did not trust us."""
    with client:
        try:
            wrapped = context.wrap_socket(client, server_side=True)
        except OSError:
            yield None
            return
        with wrapped:
            yield wrapped


def _connect(client: socket.socket, running: Proxy, to: int) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(4096)
    lines = head.decode().split("\r\n")
    running.asked.append(lines[0])
    wanted = "Basic " + base64.b64encode(running.user.encode()).decode()
    if running.user and f"Proxy-Authorization: {wanted}" not in lines:
        client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        return
    with socket.create_connection(("127.0.0.1", to)) as server:
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=_pump, args=(server, client))
        back.start()
        _pump(client, server)
        back.join()


def _pump(reader: socket.socket, writer: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := reader.recv(65536):
            writer.sendall(data)
        writer.shutdown(socket.SHUT_WR)


def test_a_proxy_is_asked_for_names_that_only_it_knows(run: Run) -> None:
    with proxy(run.source.port, "me:p%w") as running:
        run.url = "https://localhost:4433/model.bin"
        assert run(HTTPS_PROXY=f"http://me:p%25w@127.0.0.1:{running.port}") == (0, "")
        assert running.asked == ["CONNECT localhost:4433 HTTP/1.1"]


def test_a_proxy_is_asked_for_an_ipv6_address_in_brackets(run: Run) -> None:
    with proxy(run.source.port) as running:
        run.url = "https://[2606:4700:4700::1111]/model.bin"
        code, message = run(HTTPS_PROXY=f"http://127.0.0.1:{running.port}")
    assert running.asked == ["CONNECT [2606:4700:4700::1111]:443 HTTP/1.1"]
    assert code == 1
    assert "certificate" in message


def test_a_proxy_that_is_itself_spoken_to_by_tls(run: Run) -> None:
    with proxy(run.source.port, "me:pw", run.source.ca.parent) as running:
        run.url = "https://localhost:4433/model.bin"
        assert run(HTTPS_PROXY=f"https://me:pw@127.0.0.1:{running.port}") == (0, "")
        assert running.asked == ["CONNECT localhost:4433 HTTP/1.1"]
    assert (run.into / "model.bin").read_bytes() == DATA


def test_a_proxy_whose_certificate_is_not_trusted_hears_no_credentials(run: Run) -> None:
    (run.trust / "ca.crt").unlink()
    with proxy(run.source.port, "me:s3cret", run.source.ca.parent) as running:
        code, message = run(HTTPS_PROXY=f"https://me:s3cret@localhost:{running.port}")
        assert (code, running.asked) == (1, [])
    assert "the proxy localhost: its certificate is not trusted" in message
    assert "s3cret" not in message + run.log


def test_a_proxy_that_wants_other_credentials_is_told_without_them(run: Run) -> None:
    with proxy(run.source.port, "me:right") as running:
        code, message = run(HTTPS_PROXY=f"http://me:wr0ng@127.0.0.1:{running.port}")
    assert code == 1
    assert "the proxy wants other credentials" in message
    assert "wr0ng" not in message + run.log


def test_a_proxy_is_not_asked_for_addresses_inside(run: Run) -> None:
    with proxy(run.source.port) as running:
        run.url = "https://169.254.169.254/latest"
        code, message = run(HTTPS_PROXY=f"http://127.0.0.1:{running.port}")
    assert (code, running.asked) == (1, [])
    assert "not a public address" in message


def test_no_proxy_goes_directly(run: Run) -> None:
    with proxy(run.source.port) as running:
        assert run(HTTPS_PROXY=f"http://127.0.0.1:{running.port}", NO_PROXY="127.0.0.0/8") == (0, "")
        assert running.asked == []
