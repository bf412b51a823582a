"""The HTTP face of an embedding model: OpenAI's `/v1/embeddings` over any `EmbeddingModel`."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import orjson
from aiohttp import web

from insource.servers.json_body import Body, read_json, shortened
from insource.servers.requests import RefusedRequestError
from insource.servers.serving import ModelServer

MAX_BODY_BYTES = 32 << 20
MOST_INPUTS = 2048
"""OpenAI's own limit."""
EncodingFormat = Literal["float", "base64"]


class InputTooLongError(Exception):
    """The input number `index` has more tokens than the model reads."""

    def __init__(self, index: int, tokens: int, most: int) -> None:
        super().__init__(f"This model reads {most} tokens, and input[{index}] has {tokens}; split it.")
        self.index = index


@dataclass(frozen=True)
class Embedded:
    """Vectors of length 1, float32 [inputs, dimensions], and the tokens of all inputs, markers included."""

    vectors: Any
    tokens: int


class EmbeddingModel(Protocol):
    """Texts to vectors; called from worker threads, as many at once as there are slots."""

    dimensions: int

    def embed(self, texts: Sequence[str], left: Callable[[], bool]) -> Embedded | None:
        """Embed `texts`; None once `left` is true: nobody wants the rest. Raises `InputTooLongError`."""
        ...


@dataclass(frozen=True)
class EmbeddingRequest:
    """What the client asked for."""

    model: str
    texts: tuple[str, ...]
    encoding_format: EncodingFormat = "float"


class EmbeddingServer(ModelServer[EmbeddingModel]):
    """An embedding model behind `/v1/embeddings`."""

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """See `ModelServer`."""
        return [web.post("/v1/embeddings", self._embed)]

    async def _embed(self, request: web.Request) -> web.StreamResponse:
        return await self.counted(request, self._answer)

    async def _answer(self, request: web.Request, model: EmbeddingModel) -> web.StreamResponse:
        body = await read_json(request, MAX_BODY_BYTES)
        asked = embedding_request(body, self.settings.model_name, model.dimensions)
        left = threading.Event()
        job = self.threads.submit(lambda: None if left.is_set() else answer(model, asked, left.is_set))
        try:
            made = await asyncio.wrap_future(job)
        except InputTooLongError as error:
            raise RefusedRequestError(str(error), param="input", code="context_length_exceeded") from error
        finally:
            left.set()
            with contextlib.suppress(RuntimeError):
                job.cancel()
        assert made is not None, "only a request that was left has no answer"
        return web.Response(body=made, content_type="application/json")


def embedding_request(body: Body, model_name: str, dimensions: int) -> EmbeddingRequest:
    """Read and check the body. Raises `RefusedRequestError`."""
    model = body.model(model_name)
    texts = _texts(body.take("input"))
    encoding_format = body.take("encoding_format", "float")
    if encoding_format not in ("float", "base64"):
        message = f"encoding_format must be float or base64, not {shortened(encoding_format)}."
        raise RefusedRequestError(message, param="encoding_format")
    asked_dimensions = body.take("dimensions")
    if asked_dimensions is not None and (isinstance(asked_dimensions, bool) or asked_dimensions != dimensions):
        message = f"dimensions must be {dimensions}: this model's vectors cannot be shortened."
        raise RefusedRequestError(message, param="dimensions", code="unsupported_parameter")
    if not isinstance(body.take("user", ""), str):
        raise RefusedRequestError("'user' must be a string.", param="user")
    body.finish()
    return EmbeddingRequest(model, texts, encoding_format)


def answer(model: EmbeddingModel, asked: EmbeddingRequest, left: Callable[[], bool]) -> bytes | None:
    """The body of the answer, None if the client left; for a worker thread. Raises `InputTooLongError`."""
    made = model.embed(asked.texts, left)
    if made is None:
        return None
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector, asked.encoding_format)}
        for index, vector in enumerate(made.vectors)
    ]
    usage = {"prompt_tokens": made.tokens, "total_tokens": made.tokens}
    body = {"object": "list", "data": data, "model": asked.model, "usage": usage}
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def _encoded(vector: Any, encoding_format: EncodingFormat) -> Any:
    """Numbers, or their float32 in little-endian order as base64."""
    return vector if encoding_format == "float" else base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        raise RefusedRequestError("you must provide an input parameter", param="input")
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not 1 <= len(texts) <= MOST_INPUTS:
        found = f" of {len(texts)}" if isinstance(texts, list) else ""
        message = f"input must be a string or a list of 1 to {MOST_INPUTS} strings, not {type(value).__name__}{found}."
        raise RefusedRequestError(message, param="input")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            message = f"input[{index}] must be text, not token numbers or anything else: {shortened(text)}."
            raise RefusedRequestError(message, param="input")
        if not text:
            raise RefusedRequestError(f"input[{index}] is an empty string.", param="input")
    return tuple(texts)
