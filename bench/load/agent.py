"""Child process: the gateway's agent with a world in memory, commanded by lines of JSON on standard input.

`{"deployments": N}` makes N deployments; `{"split": [a, b]}` changes the weights of the first one, and is answered with
the monotonic time at which the agent was told; `{"serve": [ports], "rescue": [ports]}` gives it other endpoints.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import structlog

from insource.env import system_env
from insource.gateway.agent import Agent
from insource.gateway.settings import AgentSettings
from insource.gateway.sources import StaticSource
from insource.gateway.view import ClientKey, DeploymentKey, DeploymentView, Pool
from insource.wire.vocabulary import BackendKind, Role

CLIENT = "bench"
API_KEY = "sk-bench-0123456789"
DEPLOYMENT = DeploymentKey("bench", "dictation")


def view(key: DeploymentKey, version: int, ports: list[int], weights: list[int], limit: int) -> DeploymentView:
    """A deployment split between in-house revisions r0, r1, ... at `ports`."""
    pools = tuple(
        Pool("inhouse", f"r{n}", BackendKind.IN_HOUSE, "", Role.SERVE, weight, (("127.0.0.1", port),))
        for n, (port, weight) in enumerate(zip(ports, weights, strict=True))
    )
    return DeploymentView(key, version, version, serve=pools, clients=(CLIENT,), max_body_bytes=limit)


def replicas(version: int, serve: list[int], rescue: list[int], limit: int) -> DeploymentView:
    """The deployment with one in-house revision of several replicas, each by its two ports."""

    def pools(role: Role, ports: list[int]) -> tuple[Pool, ...]:
        addresses = tuple(("127.0.0.1", port) for port in sorted(ports))
        return (Pool("inhouse", "r0", BackendKind.IN_HOUSE, "", role, 1, addresses),) if ports else ()

    return DeploymentView(
        DEPLOYMENT,
        version,
        version,
        serve=pools(Role.SERVE, serve),
        rescue=pools(Role.RESCUE, rescue),
        clients=(CLIENT,),
        max_body_bytes=limit,
    )


async def main(settings: dict[str, Any]) -> None:
    """Run the agent and obey."""
    state = Path(settings["state"])
    master, token = state / "master", state / "token"
    master.write_text("bench-master")
    token.write_text("none")
    source = StaticSource([], [ClientKey(CLIENT, API_KEY)])
    agent = Agent(
        AgentSettings(
            kubeconfig=None,
            state_dir=state / "state",
            run_dir=Path(settings["run"]),
            admin_host="127.0.0.1",
            admin_port=0,
            master_file=master,
            ledger_url=settings["ledger"],
            ledger_token_file=token,
        ),
        source,
        system_env(),
    )
    running = asyncio.create_task(agent.run())
    await agent.started.wait()
    print(json.dumps({"admin": agent.admin_port}), flush=True)
    ports, limit, version = settings["ports"], settings["limit"], 1
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        version += 1
        if "serve" in command:
            source.put(replicas(version, command["serve"], command["rescue"], limit))
        elif "deployments" in command:
            others = [DeploymentKey("bench", f"other-{n}") for n in range(command["deployments"] - 1)]
            first = view(DEPLOYMENT, version, ports, command["weights"], limit)
            source.put(first, *(view(key, version, ports[:1], [1], limit) for key in others))
        else:
            told = time.monotonic()
            source.put(view(DEPLOYMENT, version, ports, command["split"], limit))
            print(json.dumps({"told": told}), flush=True)
            continue
        print(json.dumps({"version": version}), flush=True)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(json.loads(sys.argv[1])))
