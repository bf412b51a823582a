"""Kills, restarts and changes under load: nothing is lost, nothing churns."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from insource.gateway.view import DeploymentKey
from insource.wire.vocabulary import Role
from tests.gateway.gateway_harness import KEY, PATH, Adapter, Gateway, gateway, ok, until

pytestmark = pytest.mark.gateway


def start_agent_process(gw: Gateway, port: int) -> subprocess.Popen[bytes]:
    settings = gw.agent_settings()
    flags = {
        "state_dir": str(settings.state_dir),
        "run_dir": str(settings.run_dir),
        "admin_host": "127.0.0.1",
        "admin_port": port,
        "master_file": str(settings.master_file),
        "ledger_url": settings.ledger_url,
        "ledger_token_file": str(settings.ledger_token_file),
        "pod": settings.pod,
        "rotate_bytes": settings.rotate_bytes,
    }
    environment = {**os.environ, "PYTHONPATH": "operator:."}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.gateway.gateway_agent_process", json.dumps(flags)], env=environment
    )


async def load(gw: Gateway, stop: asyncio.Event, codes: list[int], pause_s: float = 0.005) -> None:
    async with aiohttp.ClientSession() as session:
        while not stop.is_set():
            codes.append((await gw.post(session=session))[0])
            await asyncio.sleep(pause_s)


async def test_changes_of_weights_and_endpoints_lose_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        canary = await Adapter("inhouse").start()
        stop, codes = asyncio.Event(), []
        users = [asyncio.create_task(load(gw, stop, codes)) for _ in range(3)]
        stable, version = gw.adapter.pool(Role.SERVE), 1
        for weight in (0, 5, 50, 95, 100) * 5:
            version += 1
            new = canary.pool(Role.SERVE, revision="r2", weight=weight)
            old = gw.adapter.pool(Role.SERVE, weight=100 - weight)
            await gw.put(gw.view(version, serve=(old, new)))
            version += 1
            await gw.put(gw.view(version, serve=(stable,) if weight % 2 else ()))
        stop.set()
        await asyncio.gather(*users)
        await canary.stop()
        assert len(codes) > 50
        assert set(codes) == {200}
        assert canary.seen["serve"]


async def test_the_split_is_exact(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        canary = await Adapter("inhouse").start()
        new = canary.pool(Role.SERVE, revision="r2", weight=10)
        await gw.put(gw.view(2, serve=(gw.adapter.pool(Role.SERVE, weight=90), new)))
        async with aiohttp.ClientSession() as session:
            for _ in range(200):
                assert (await gw.post(session=session))[0] == 200
        await canary.stop()
        assert abs(len(canary.seen["serve"]) - 20) <= 2


async def test_the_agent_killed_and_back_without_the_api_server(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await until((gw.state_dir / "snapshot.json").exists)
        await gw.put(gw.view(2))
        await until(lambda: b'"version":2' in (gw.state_dir / "snapshot.json").read_bytes())
        await gw.stop_agent()
        port = gw.agent.admin_port  # type: ignore[union-attr]
        stop, codes = asyncio.Event(), []
        user = asyncio.create_task(load(gw, stop, codes, 0.01))
        processes = []
        try:
            for _ in range(3):
                process = start_agent_process(gw, port)
                processes.append(process)
                await gw.ready()
                assert (await gw.admin("/applied"))["deployments"][str(KEY)]["version"] == 2
                process.send_signal(signal.SIGKILL)
                process.wait()
            # And Envoy after it, still without the API server.
            process = start_agent_process(gw, port)
            processes.append(process)
            await gw.ready()
            stop.set()
            await user
            assert set(codes) == {200}
            answered = len(codes)
            await gw.seen_by_ledger(answered)
            assert len(gw.ledger.sightings) == answered
            assert all(each["outcome"] == "ok" for each in gw.ledger.sightings.values())

            async def counted() -> bool:
                return sum(c["all"] for c in (await gw.admin("/evidence"))["counts"]) == answered

            await until(counted)
            gw.kill_envoy()
            gw.start_envoy()
            await gw.ready()
            assert (await gw.post())[0] == 200
        finally:
            stop.set()
            for process in processes:
                process.kill()
                process.wait()


async def test_a_reconnecting_envoy_is_sent_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with gateway(tmp_path) as gw:
        sent: list[int] = []
        await gw.stop_agent()
        from insource.gateway.delta import DeltaStream

        original = DeltaStream._answer

        def counting(self: DeltaStream, type_url: str, batch: list[object], gone: list[str]) -> object:
            sent.append(len(batch) + len(gone))
            return original(self, type_url, batch, gone)  # type: ignore[arg-type]

        DeltaStream._answer = counting  # type: ignore[assignment,method-assign]
        try:
            await gw.start_agent()
            await gw.ready()
            await gw.applied(1)
            assert sum(sent) == 0
            await gw.put(gw.view(2, request_timeout_s=30))
            assert sum(sent) == 1
        finally:
            DeltaStream._answer = original  # type: ignore[method-assign]


async def test_a_removed_deployment_finishes_what_is_in_flight(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        gate = asyncio.Event()

        async def slow(request: object, size: int) -> object:
            await gate.wait()
            return await ok(request, size)  # type: ignore[arg-type]

        gw.adapter.behaviour["serve"] = slow  # type: ignore[assignment]
        waiting = asyncio.create_task(gw.post())
        await until(lambda: gw.adapter.seen["serve"])
        gw.adapter.behaviour["serve"] = ok
        gw.source.remove(KEY)

        async def gone() -> bool:
            return (await gw.post())[0] == 404

        await until(gone)
        assert not waiting.done()
        gate.set()
        assert (await waiting)[0] == 200

        async def forgotten() -> bool:
            return not (await gw.admin("/evidence"))["counts"]

        await until(forgotten)
        assert str(KEY) not in (await gw.admin("/applied"))["deployments"]
        gw.adapter.clear()
        await gw.put(gw.view(5))
        assert (await gw.post())[0] == 200


async def test_rotation_loses_no_line_and_drops_what_was_shipped(tmp_path: Path) -> None:
    async with gateway(tmp_path, rotate_bytes=20_000) as gw:
        gw.ledger.away = True
        stop, codes = asyncio.Event(), []
        users = [asyncio.create_task(load(gw, stop, codes, 0.002)) for _ in range(2)]
        await until(lambda: len(list(gw.state_dir.glob("access.log.*"))) >= 2, 30)
        gw.ledger.away = False
        stop.set()
        await asyncio.gather(*users)
        await gw.seen_by_ledger(len(codes))
        assert len(gw.ledger.sightings) == len(codes)
        await until(lambda: not list(gw.state_dir.glob("access.log.*")))

        async def counted() -> bool:
            return sum(c["all"] for c in (await gw.admin("/evidence"))["counts"]) == len(codes)

        await until(counted)


async def test_a_stopped_replica_is_avoided(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        server = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            assert server.stdout
            port = int((await asyncio.to_thread(server.stdout.readline)).split(b" port ")[1].split()[0])
            server.send_signal(signal.SIGSTOP)
            both = gw.adapter.pool(Role.SERVE)
            from dataclasses import replace

            both = replace(both, addresses=(*both.addresses, ("127.0.0.1", port)))
            await gw.put(gw.view(2, serve=(both,)))
            # LEAST_REQUEST looks at 4 of 2, with repetition: once something hangs there, 1 in 16 still goes to it.
            answered, stuck = 0, set[asyncio.Task[tuple[int, dict[str, str], bytes]]]()
            for _ in range(40):
                done, waiting = await asyncio.wait({asyncio.create_task(gw.post())}, timeout=0.5)
                stuck |= waiting
                answered += sum(each.result()[0] == 200 for each in done)
            assert stuck
            assert answered >= 30
            for each in stuck:
                each.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
        finally:
            server.kill()
            server.wait()
            server.stdout.close()  # type: ignore[union-attr]


async def test_two_deployments_do_not_meet(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        other = DeploymentKey("team", "dictation")
        await gw.put(gw.view(1, key=other, clients=("bob",)))
        assert (await gw.post(f"/{other}/v1/models"))[0] == 403
        assert (await gw.post(PATH))[0] == 200


async def test_envoy_killed_under_load_is_followed_on(tmp_path: Path) -> None:
    """No attempt is seen twice, and what came after a torn line is all seen."""
    async with gateway(tmp_path) as gw:

        async def post() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                return (await gw.post())[0] == 200
            return False

        async def use(count: int) -> None:
            for _ in range(count):
                await post()

        def taken() -> list[str]:
            return [each.headers["x-request-id"] for each in gw.adapter.seen["serve"]]

        for _ in range(3):
            before = len(taken())
            users = [asyncio.create_task(use(60)) for _ in range(3)]
            await until(lambda before=before: len(taken()) > before + 20)  # type: ignore[misc]
            gw.kill_envoy()
            await asyncio.gather(*users)
            # What a killed Envoy was about to write: half a line, and nothing after it.
            with (gw.state_dir / "access.log").open("ab") as log:
                log.write(b'{"half a li')
            gw.start_envoy()
            await until(post, what="Envoy is back")
        before = len(taken())
        await use(30)
        last = set(taken()[before:])
        assert len(last) == 30
        seen: list[str] = []

        def all_seen() -> bool:
            seen[:] = [each["request_id"] for each in gw.ledger.sightings.values()]
            return last <= set(seen)

        await until(all_seen, what="all seen")
        assert len(seen) == len(set(seen))
        assert set(seen) <= set(taken())
        # Envoy writes its log ten times a second: only what it had not written yet may be missing.
        assert (await gw.admin("/evidence"))["counts"]
