"""The end of a gateway pod, as its preStop hook and two SIGTERMs bring it about; and the probe that goes before."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from insource.env import system_env
from insource.gateway.drain import drain
from insource.gateway.envoy_admin import EnvoyAdmin
from tests.gateway.gateway_harness import AUTH, PATH, Gateway, gateway, ok, until
from tests.ports import free_port

pytestmark = pytest.mark.gateway
ENVIRONMENT = {**os.environ, "PYTHONPATH": "operator:."}


async def hook(gw: Gateway, settle: float = 0, limit: float = 60) -> asyncio.subprocess.Process:
    """The preStop hook, as the container runs it."""
    flags = ("--run-dir", str(gw.run_dir), "--settle", str(settle), "--limit", str(limit))
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "insource", "gateway", "drain", *flags),
        env=ENVIRONMENT,
        stderr=asyncio.subprocess.PIPE,
    )


async def probe(gw: Gateway) -> int:
    """Status of the kubelet's question; 0: nobody listens."""
    host, port = gw.envoy_settings["health"]
    with contextlib.suppress(aiohttp.ClientConnectionError):
        async with gw.session.get(f"http://{host}:{port}/ready") as answer:
            return answer.status
    return 0


def held_back(gw: Gateway) -> asyncio.Event:
    """Adapters answer only once this is set."""
    gate = asyncio.Event()

    async def slow(request: web.Request, size: int) -> web.StreamResponse:
        await gate.wait()
        return await ok(request, size)

    gw.adapter.behaviour["serve"] = slow
    return gate


async def refused(gw: Gateway) -> bool:
    """Whether a new connection of a client is refused."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", gw.port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


@contextlib.asynccontextmanager
async def probed(root: Path) -> AsyncIterator[Gateway]:
    async with gateway(root, envoy={"health": ("127.0.0.1", free_port())}) as gw:

        async def ready() -> bool:
            return await probe(gw) == 200

        await until(ready, what="probe")
        yield gw


async def test_what_is_in_flight_is_answered_and_nobody_new_is_taken(tmp_path: Path) -> None:
    async with probed(tmp_path) as gw:
        gate = held_back(gw)
        waiting = asyncio.create_task(gw.post())
        await until(lambda: gw.adapter.seen["serve"])
        draining = await hook(gw)
        await until(lambda: refused(gw), what="new connections are refused")
        assert await probe(gw) == 503
        assert (await gw.admin("/readyz"))[0] == 503
        assert draining.returncode is None
        assert not waiting.done()
        gate.set()
        assert (await waiting)[0] == 200
        assert await asyncio.wait_for(draining.wait(), 30) == 0


async def test_a_held_request_is_served_though_its_pod_drains(tmp_path: Path) -> None:
    async with probed(tmp_path) as gw:
        await gw.put(gw.view(2, serve=(), rescue=(), spill=()))
        waiting = asyncio.create_task(gw.post())
        await until(lambda: gw.agent and gw.agent._activator.held.total() == 1)
        draining = await hook(gw)
        await until(lambda: refused(gw), what="new connections are refused")
        await gw.put(gw.view(3))
        assert (await waiting)[0] == 200
        assert await asyncio.wait_for(draining.wait(), 30) == 0


async def test_while_it_settles_new_clients_are_served_and_told_to_go(tmp_path: Path) -> None:
    async with probed(tmp_path) as gw:
        draining = await hook(gw, settle=3600, limit=7200)

        async def unready() -> bool:
            return await probe(gw) == 503

        await until(unready)
        for _ in range(3):
            status, headers, _ = await gw.post()
            assert status == 200
            assert headers["connection"] == "close"
        assert not await refused(gw)
        draining.kill()
        await draining.communicate()


async def test_the_limit_is_kept(tmp_path: Path) -> None:
    async with probed(tmp_path) as gw:
        gate = held_back(gw)
        waiting = asyncio.create_task(gw.post())
        await until(lambda: gw.adapter.seen["serve"])
        draining = await hook(gw, limit=0.5)
        _, said = await asyncio.wait_for(draining.communicate(), 30)
        assert draining.returncode == 1
        assert said.decode().strip() == "Error: not drained within 0.5 s: requests are still in flight"
        gate.set()
        assert (await waiting)[0] == 200


async def test_an_admin_that_hangs_is_not_waited_for_beyond_the_limit(tmp_path: Path) -> None:
    async with probed(tmp_path) as gw:
        assert gw.envoy
        gw.envoy.send_signal(signal.SIGSTOP)
        try:
            draining = await hook(gw, limit=1)
            _, said = await asyncio.wait_for(draining.communicate(), 30)
        finally:
            gw.envoy.send_signal(signal.SIGCONT)
        assert draining.returncode == 1
        assert said.decode().strip() == "Error: not drained within 1 s: Envoy does not answer"


async def test_an_envoy_that_has_gone_is_drained(tmp_path: Path) -> None:
    async with probed(tmp_path) as gw:
        gw.kill_envoy()
        draining = await hook(gw, settle=3600, limit=7200)
        assert await asyncio.wait_for(draining.wait(), 30) == 0


async def test_an_envoy_that_ends_meanwhile_is_drained(tmp_path: Path) -> None:
    async with probed(tmp_path) as gw:
        gate = held_back(gw)
        waiting = asyncio.create_task(gw.post())
        await until(lambda: gw.adapter.seen["serve"])
        admin = EnvoyAdmin(gw.run_dir / "envoy-admin.sock")
        draining = asyncio.create_task(drain(admin, system_env().clock, settle_s=0, limit_s=3600))
        await until(lambda: refused(gw))
        gw.kill_envoy()
        assert await asyncio.wait_for(draining, 30) == ""
        await admin.close()
        gate.set()
        with contextlib.suppress(aiohttp.ClientError):
            await waiting


async def test_the_probe_waits_for_the_agents_configuration(tmp_path: Path) -> None:
    async with probed(tmp_path) as gw:
        await gw.stop_agent()
        gw.kill_envoy()
        gw.start_envoy()

        async def listens() -> bool:
            assert gw.envoy
            assert gw.envoy.poll() is None
            return (gw.run_dir / "envoy-admin.sock").exists()

        await until(listens)
        assert await probe(gw) != 200
        await gw.start_agent()

        async def ready() -> bool:
            return await probe(gw) == 200

        await until(ready)
        assert (await gw.post())[0] == 200
        # An agent that is away, or comes back, makes nobody unready: Envoy serves.
        await gw.stop_agent()
        assert await probe(gw) == 200
        await gw.start_agent()
        codes = set()

        async def applied() -> bool:
            codes.add(await probe(gw))
            return (await gw.admin("/readyz"))[0] == 200

        await until(applied)
        assert codes == {200}


async def test_the_agent_stays_until_envoy_has_ended_and_the_ledger_has_all(tmp_path: Path) -> None:
    """SIGTERM reaches the agent first: its container has no preStop hook of its own."""
    async with probed(tmp_path) as gw:
        await until((gw.state_dir / "snapshot.json").exists)
        await gw.stop_agent()
        settings = gw.agent_settings()
        names = ("state_dir", "run_dir", "master_file", "ledger_token_file")
        flags = {name: str(getattr(settings, name)) for name in names}
        port = gw.agent.admin_port  # type: ignore[union-attr]
        flags |= {"admin_host": "127.0.0.1", "admin_port": port, "ledger_url": settings.ledger_url}  # type: ignore[dict-item]
        flags |= {"pod": settings.pod, "outlive_envoy_s": 3600}  # type: ignore[dict-item]
        agent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.gateway.gateway_agent_process", json.dumps(flags)), env=ENVIRONMENT
        )
        try:
            await gw.ready()
            gate = held_back(gw)
            gw.ledger.away = True
            waiting = asyncio.create_task(gw.post())
            await until(lambda: gw.adapter.seen["serve"])
            agent.send_signal(signal.SIGTERM)
            draining = await hook(gw)
            await until(lambda: refused(gw))
            gate.set()
            assert (await waiting)[0] == 200
            assert await asyncio.wait_for(draining.wait(), 30) == 0
            assert agent.returncode is None
            gw.kill_envoy(signal.SIGTERM)
            gw.ledger.away = False
            assert await asyncio.wait_for(agent.wait(), 60) == 0
            (sighting,) = gw.ledger.sightings.values()
            assert sighting["outcome"] == "ok"
        finally:
            with contextlib.suppress(ProcessLookupError):
                agent.kill()
            await agent.wait()


async def test_the_agent_leaves_at_its_limit(tmp_path: Path) -> None:
    async with gateway(tmp_path, outlive_envoy_s=0.2) as gw:
        assert gw.agent
        assert (await gw.post(headers=AUTH, path=PATH))[0] == 200
        await asyncio.wait_for(gw.agent.outlive_envoy(), 60)
        assert gw.envoy
        assert gw.envoy.poll() is None, "it was not Envoy's end that it left for"
        assert (await gw.admin("/readyz")) == (503, "draining\n")
