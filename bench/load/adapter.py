"""Child process: one adapter, in-house or a vendor's, on ports that the kernel chooses; prints them as JSON."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import signal
import sys
from pathlib import Path
from typing import Any

import structlog
import uvloop

from insource.adapter.server import Adapter, settle_memory
from insource.adapter.settings import InHouseSettings, Settings, VendorSettings
from insource.env import system_env
from insource.wire.headers import ROLE_PORTS
from insource.wire.vocabulary import Dialect, Modality


def in_house(settings: dict[str, Any]) -> InHouseSettings:
    """Beside the fake model server."""
    server = settings["server"]
    return InHouseSettings(
        deployment="dictation",
        backend="inhouse",
        revision="r0",
        modality=Modality(settings.get("modality", Modality.TRANSCRIPTION)),
        model="bench",
        server_url=f"{server}/v1",
        server_health_url=f"{server}/health",
        request_model=settings.get("model", "bench"),
        slots=settings["slots"],
        request_timeout_s=60.0,
    )


def vendor(state: Path, server: str) -> VendorSettings:
    """With the fake model server as the vendor, over plain HTTP."""
    key, routes = state / "key", state / "routes.json"
    key.write_text("sk-vendor\n")
    route = {"backend": "openai", "model": "whisper-1", "modality": Modality.TRANSCRIPTION.value}
    routes.write_text(json.dumps({"deployments": {"dictation": route}}))
    return VendorSettings(
        vendor="openai",
        dialect=Dialect.OPENAI,
        endpoint=f"{server}/v1",
        key_file=key,
        secret="openai-key/key",
        routes_file=routes,
        requests_per_minute=0,
        concurrency=0,
    )


async def main(settings: dict[str, Any]) -> None:
    """Run until SIGTERM."""
    state = Path(settings["state"])
    tokens, wal, token = state / "tokens", state / "wal", state / "ledger-token"
    for folder in (tokens, wal):
        folder.mkdir(parents=True, exist_ok=True)
    token.write_text("none")
    accepted = hmac.new(b"bench-master", b"bench", hashlib.sha256).hexdigest()
    (tokens / "sha256").write_text(hashlib.sha256(accepted.encode()).hexdigest() + "\n")
    backend = vendor(state, settings["server"]) if settings.get("vendor") else in_house(settings)
    adapter = Adapter(
        Settings(
            pod_ip="127.0.0.1",
            pod_name="bench-adapter",
            pod_uid="bench",
            namespace="bench",
            tokens_dir=tokens,
            ledger_url=settings["ledger"],
            ledger_token_file=token,
            wal_dir=wal,
            drain_grace_s=1.0,
            max_body_bytes=settings["limit"],
            backend=backend,
            role_ports=dict.fromkeys(ROLE_PORTS, 0),
            admin_port=0,
        ),
        system_env(),
    )
    await adapter.start()
    settle_memory()
    print(json.dumps(adapter.ports), flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await adapter.close()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    uvloop.run(main(json.loads(sys.argv[1])))
