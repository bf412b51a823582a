"""What `helm test` runs: each part must answer, and the gateway any client at all."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.charts.helm import CHART
from tests.ports import free_ports


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def ask(*parts: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, CHART / "files" / "answers.py", *parts],
        env={},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("ledger", "gateway", "exit_status"), [(200, 200, 0), (200, 401, 0), (503, 404, 1), (200, 503, 1)]
)
def test_it_fails_if_one_of_them_is_not_well(ledger: int, gateway: int, exit_status: int) -> None:
    with answering(ledger) as one, answering(gateway) as two:
        done = ask(f"ledger={one}", f"gateway={two}")
    assert done.stdout.splitlines() == [f"ledger: {ledger}", f"gateway: {gateway}"]
    assert done.returncode == exit_status


def test_one_that_is_not_there_is_named() -> None:
    (port,) = free_ports(1)
    done = ask(f"operator=http://127.0.0.1:{port}/readyz")
    assert done.returncode == 1
    assert "operator: no answer" in done.stdout
