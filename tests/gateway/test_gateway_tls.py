"""TLS at the edge: certificates come and go as mounted Secrets do, and no request notices."""

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from structlog.testing import capture_logs

from tests.gateway.gateway_harness import AUTH, PATH, Gateway, gateway, until
from tests.pki import Authority, MountedFolder, Pair

pytestmark = pytest.mark.gateway


@dataclass
class Scene:
    """A gateway with TLS, and what its clients know."""

    gw: Gateway
    authority: Authority
    first: Pair
    mount: MountedFolder

    async def shown(self, **limits: Any) -> tuple[int, str | None, str | None]:
        """Serial of the certificate that a new connection is shown, the protocol chosen, and TLS's version."""
        context = self.authority.trusting()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(limits.get("alpn", ["h2", "http/1.1"]))
        context.maximum_version = limits.get("maximum", ssl.TLSVersion.TLSv1_3)

        def shake() -> tuple[int, str | None, str | None]:
            with (
                socket.create_connection(("127.0.0.1", self.gw.port), 10) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as secure,
            ):
                der = secure.getpeercert(binary_form=True)
                assert der
                serial = x509.load_der_x509_certificate(der).serial_number
                return serial, secure.selected_alpn_protocol(), secure.version()

        return await asyncio.to_thread(shake)

    async def metric(self, name: str) -> float | None:
        _, text = await self.gw.admin("/metrics")
        values = [line.split()[1] for line in text.splitlines() if line.startswith(f"insource_gateway_{name} ")]
        return float(values[0]) if values else None


@contextlib.asynccontextmanager
async def secure(tmp_path: Path, valid_for: timedelta = timedelta(days=90)) -> AsyncIterator[Scene]:
    authority = Authority()
    pair = authority.issue(valid_for)
    mount = MountedFolder(tmp_path / "tls", pair.secret)
    async with gateway(tmp_path, envoy={"tls_dir": mount.path}) as gw:
        yield Scene(gw, authority, pair, mount)


@contextlib.asynccontextmanager
async def trusting(scene: Scene) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=scene.authority.trusting(), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def test_clients_speak_tls(tmp_path: Path) -> None:
    async with secure(tmp_path) as scene, trusting(scene) as session:
        assert await scene.shown() == (scene.first.serial, "h2", "TLSv1.3")
        assert (await scene.shown(alpn=["http/1.1"]))[1] == "http/1.1"
        assert (await scene.shown(maximum=ssl.TLSVersion.TLSv1_2))[2] == "TLSv1.2"
        assert (await scene.gw.post(session=session))[0] == 200
        with pytest.raises(aiohttp.ClientError):
            async with session.post(f"http://127.0.0.1:{scene.gw.port}{PATH}", data=b"{}", headers=AUTH):
                pass


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_tls_is_refused(tmp_path: Path) -> None:
    async with secure(tmp_path) as scene:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, OSError)):
            await asyncio.open_connection("127.0.0.1", scene.gw.port, ssl=context)


async def test_a_certificate_is_rotated_under_load(tmp_path: Path) -> None:
    async with secure(tmp_path) as scene, trusting(scene) as kept:
        codes: list[int] = []
        stop = asyncio.Event()

        async def anew() -> None:
            while not stop.is_set():
                async with trusting(scene) as session:
                    codes.append((await scene.gw.post(session=session))[0])

        async def on_one_connection() -> None:
            while not stop.is_set():
                codes.append((await scene.gw.post(session=kept))[0])

        users = [asyncio.create_task(anew()) for _ in range(2)] + [asyncio.create_task(on_one_connection())]
        for _ in range(3):
            fresh = scene.authority.issue()
            scene.mount.swap(fresh.secret)

            async def seen(serial: int = fresh.serial) -> bool:
                return (await scene.shown())[0] == serial

            await until(seen, what="the new certificate")
            before = len(codes)
            await until(lambda before=before: len(codes) > before + 20)  # type: ignore[misc]
        stop.set()
        await asyncio.gather(*users)
        assert set(codes) == {200}


def bad_contents(good: Pair, other: Pair) -> dict[str, dict[str, str]]:
    """What may stand in a Secret that somebody got wrong."""
    half = other.certificate[: len(other.certificate) // 2]
    return {
        "no pair": {"tls.crt": other.certificate, "tls.key": good.key},
        "half a certificate": {"tls.crt": half, "tls.key": other.key},
        "no PEM": {"tls.crt": "later", "tls.key": "later"},
        "no key": {"tls.crt": other.certificate},
        "nothing": {},
    }


@pytest.mark.parametrize("what", bad_contents(Pair("", "", 0), Pair("", "", 0)))
async def test_a_bad_pair_is_kept_out(tmp_path: Path, what: str) -> None:
    with capture_logs() as logs:
        async with secure(tmp_path) as scene, trusting(scene) as session:
            other = scene.authority.issue()
            await until(lambda: scene.metric("certificate_expiry_seconds"))
            assert await scene.metric("certificate_refused_total") == 0
            scene.mount.swap(bad_contents(scene.first, other)[what])

            async def refused() -> bool:
                return bool(await scene.metric("certificate_refused_total"))

            await until(refused, what="told as refused")
            assert (await scene.shown())[0] == scene.first.serial
            assert (await scene.gw.post(session=session))[0] == 200
            # And the next good one is taken.
            scene.mount.swap(other.secret)

            async def seen() -> bool:
                return (await scene.shown())[0] == other.serial

            await until(seen, what="the good pair after the bad one")
            said = scene.gw.envoy_errors() + str(logs)
    assert "certificate_refused" in str(logs)
    secrets = [line for pair in (scene.first, other) for line in pair.key.splitlines() if not line.startswith("-----")]
    assert not [line for line in secrets if line in said]


async def test_when_it_expires_is_told(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with secure(tmp_path, timedelta(days=3)) as scene:
            left = await until(lambda: scene.metric("certificate_expiry_seconds"))
            assert timedelta(days=2) < timedelta(seconds=left) <= timedelta(days=3)
    assert [each["log_level"] for each in logs if each["event"] == "certificate_expires_soon"] == ["warning"]


async def test_one_that_has_expired_is_served_and_told(tmp_path: Path) -> None:
    """It is the best there is: who checks it will not come, and who looks at the metric will act."""
    with capture_logs() as logs:
        async with secure(tmp_path, -timedelta(days=1)) as scene:
            left = await until(lambda: scene.metric("certificate_expiry_seconds"))
            assert left < 0
            assert (await scene.shown())[0] == scene.first.serial
    assert [each["log_level"] for each in logs if each["event"] == "certificate_expired"] == ["error"]


async def test_without_tls_there_is_no_certificate_to_tell_of(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        _, text = await gw.admin("/metrics")
        assert "certificate" not in text


@pytest.mark.parametrize(
    ("what", "words"),
    [("nothing", "tls.crt cannot be read (No such file or directory)"), ("no pair", "KEY_VALUES_MISMATCH"),
     ("half a certificate", "no pair of PEM certificate and key"), ("no PEM", "no pair of PEM certificate and key"),
     ("no key", "tls.key cannot be read")],
)  # fmt: skip
def test_envoy_does_not_start_without_a_pair(tmp_path: Path, what: str, words: str) -> None:
    authority = Authority()
    good, other = authority.issue(), authority.issue()
    mount = MountedFolder(tmp_path / "tls", bad_contents(good, other)[what])
    command = [sys.executable, "-m", "insource", "gateway", "envoy", "--listen", "127.0.0.1:1"]
    command += ["--state-dir", str(tmp_path / "s"), "--run-dir", str(tmp_path / "r"), "--tls-dir", str(mount.path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": "operator"}, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert words in done.stderr.decode()
    assert not [line for line in good.key.splitlines()[1:-1] if line in done.stderr.decode()]
