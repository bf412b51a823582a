"""The HTTP face of image servers: OpenAI's `/v1/images/generations` over any `Painter`."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from insource.env import Env
from insource.servers.image_request import ImageRequest, parse_image_request
from insource.servers.json_body import read_body
from insource.servers.requests import RefusedRequestError
from insource.servers.serving import ModelServer
from insource.servers.settings import ServerSettings
from insource.wire import headers

MAX_BODY_BYTES = 1 << 20


class LeftError(Exception):
    """Nobody waits for the pictures any more."""


@dataclass(frozen=True)
class Painted:
    """Encoded pictures, and what they took."""

    files: Sequence[bytes]
    steps: int
    """Sampling steps that each picture took."""
    text_tokens: int
    image_tokens: int


class Painter(Protocol):
    """An image model; called from worker threads, several at once."""

    def check(self, asked: ImageRequest) -> None:
        """Raises `RefusedRequestError` if it cannot draw that; quick, in the event loop."""
        ...

    def paint(self, asked: ImageRequest, seed: int, left: Callable[[], bool]) -> Painted:
        """`asked.n` different pictures from `seed`. Asks `left` between steps, and raises `LeftError` if it says so."""
        ...


class ImageServer(ModelServer[Painter]):
    """A painter behind `/v1/images/generations`."""

    def __init__(self, settings: ServerSettings, load: Callable[[], Painter], env: Env) -> None:
        """`env` gives every request its seed, and the answer its date."""
        super().__init__(settings, load)
        self._env = env

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """See `ModelServer`."""
        return [web.post("/v1/images/generations", self._generate)]

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        return await self.counted(request, self._read_and_answer)

    async def _read_and_answer(self, request: web.Request, painter: Painter) -> web.StreamResponse:
        if request.content_type != "application/json":
            raise RefusedRequestError("The body must be application/json.", param=None, status=415)
        asked = parse_image_request(await read_body(request, MAX_BODY_BYTES), self.settings.model_name)
        painter.check(asked)
        left = threading.Event()
        seed = self._env.rng.getrandbits(64)
        job = self.threads.submit(painter.paint, asked, seed, left.is_set)
        try:
            painted = await asyncio.wrap_future(job)  # cancelled with this task, if it still waits for a slot
        finally:
            left.set()
        body = _body(asked, painted, int(self._env.clock.now().timestamp()))
        return web.json_response(body, headers={headers.STEPS: str(painted.steps)})


def _body(asked: ImageRequest, painted: Painted, created: int) -> dict[str, Any]:
    """OpenAI's `ImagesResponse`; `usage.steps` is ours: sampling steps per picture, for pixel-steps."""
    text, image = painted.text_tokens, painted.image_tokens
    return {
        "created": created,
        "background": "opaque",
        "output_format": asked.output_format,
        "quality": asked.quality,
        "size": f"{asked.width}x{asked.height}",
        "usage": {
            "input_tokens": text,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": text},
            "output_tokens": image,
            "output_tokens_details": {"image_tokens": image, "text_tokens": 0},
            "total_tokens": text + image,
            "steps": painted.steps,
        },
        "data": [{"b64_json": base64.b64encode(file).decode()} for file in painted.files],
    }
