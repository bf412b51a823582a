"""The real adapter before the real flow-image server: pictures come through, and pixel-steps are what was sampled."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from aiohttp import web

from insource.env import Env, SystemClock, SystemIds
from insource.servers.flow_image import flow_loader, flow_weights
from insource.servers.images import ImageServer
from insource.servers.settings import ServerSettings
from insource.wire.vocabulary import Modality
from tests.gateway.adapter_harness import serve, world

pytestmark = pytest.mark.gateway


async def test_pictures_of_the_real_server_are_counted_in_pixel_steps(tmp_path: Path) -> None:
    settings = ServerSettings(model_name="flow-32")
    env = Env(SystemClock(), SystemIds(), random.Random(1))
    server = ImageServer(settings, flow_loader(flow_weights(settings), settings), env)
    app: web.Application = server.application()
    runner, port = await serve(app)
    await server.ready()
    url = f"http://127.0.0.1:{port}"
    backend = {"server_url": f"{url}/v1", "server_health_url": f"{url}/health", "request_model": "flow-32"}
    try:
        async with world(tmp_path, modality=Modality.IMAGE, backend=backend) as here:
            body = {"model": "any", "prompt": "a large red star on blue", "n": 2, "size": "64x32", "quality": "low"}
            reply = await here.ask("/v1/images/generations", body)
            assert (reply.status, len(json.loads(reply.body)["data"])) == (200, 2)
            counted = await here.quantities(reply.request)
            assert (
                counted.items()
                >= {
                    ("images", "measured"): 2,
                    ("pixels", "measured"): 2 * 64 * 32,
                    ("pixel_steps", "measured"): 2 * 64 * 32 * 8,
                }.items()
            )
            refused = await here.ask("/v1/images/generations", {**body, "prompt": "a photo of a cat"})
            assert (refused.status, refused.outcome) == (400, "client")
            assert "'photo', 'cat'" in refused.error["message"]
    finally:
        await runner.cleanup()
