"""An agent in a process of its own, to be killed: serves its last snapshot, for its API server never answers."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

from insource.env import system_env
from insource.gateway.agent import Agent, until_signal
from insource.gateway.settings import AgentSettings
from insource.gateway.sources import StaticSource


class AwaySource(StaticSource):
    """An API server that is away."""

    def synced(self) -> bool:
        return False

    async def run(self, changed: Callable[[], None]) -> None:
        await asyncio.Event().wait()


async def main() -> None:
    flags = json.loads(sys.argv[1])
    for name in ("state_dir", "run_dir", "master_file", "ledger_token_file"):
        flags[name] = Path(flags[name])
    agent = Agent(AgentSettings(kubeconfig=None, **flags), AwaySource(), system_env())
    await until_signal(agent.run, agent.outlive_envoy)


asyncio.run(main())
