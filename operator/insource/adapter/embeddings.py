"""`/v1/embeddings`: texts in, a vector for each out. Counted in input tokens, as `text` counts them."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from insource.adapter.attempts import Attempt
from insource.adapter.dialects.exchange import bounded, object_of
from insource.adapter.dialects.seam import Answer, Dialect, Dialects
from insource.adapter.json_body import read_json
from insource.adapter.metering.tokens import tokens_of_input
from insource.adapter.refusals import server_failure
from insource.adapter.replies import whole
from insource.adapter.requests import Embedding
from insource.adapter.text import note_usage
from insource.wire.vocabulary import Modality, Unit


class Embeddings:
    """See `Operation`."""

    path = "/v1/embeddings"
    modality = Modality.EMBEDDING
    limit_bytes = 8 << 20
    """Above OpenAI's 300,000 tokens in a request."""

    @asynccontextmanager
    async def receive(self, request: web.BaseRequest, limit_bytes: int) -> AsyncIterator[Embedding]:
        """See `Operation`."""
        yield Embedding.of(await read_json(request, limit_bytes))

    def dialect(self, dialects: Dialects) -> Dialect[Embedding] | None:
        """See `Operation`."""
        return dialects.embedding

    def known(self, wanted: Embedding, attempt: Attempt) -> Mapping[Unit, int]:  # noqa: ARG002
        """See `Operation`."""
        return {Unit.INPUT_TOKENS: tokens_of_input(wanted.input)}

    def most(self, wanted: Embedding, attempt: Attempt) -> Mapping[Unit, int]:
        """See `Operation`."""
        return self.known(wanted, attempt)

    async def answer(
        self, request: web.BaseRequest, attempt: Attempt, wanted: Embedding, given: Answer
    ) -> web.StreamResponse:
        """See `Operation`."""
        del request  # an embedding is sent whole
        body = object_of(await bounded(given.chunks))
        try:
            vectors = encoded(body, inputs_of(wanted), wanted.encoding_format)
        except ValueError as problem:
            raise server_failure(f"The backend's answer is no embedding: {problem}.", reason="invalid_answer") from None
        assert body is not None
        note_usage(attempt, body.get("usage"))
        answer = {**body, "data": vectors, "model": wanted.model}
        return whole(attempt, "application/json", orjson.dumps(answer))


def inputs_of(wanted: Embedding) -> int:
    """How many vectors are asked for."""
    given = wanted.input
    return 1 if isinstance(given, str) or isinstance(given[0], int) else len(given)


def encoded(body: Mapping[str, Any] | None, count: int, encoding_format: str) -> list[dict[str, Any]]:
    """The vectors of an answer, encoded as the client asked. Raises ValueError for what is not `count` vectors.

    Some servers know one encoding only, and OpenAI's own SDK asks for base64: little-endian 32-bit floats.
    """
    data = body.get("data") if body is not None else None
    if not isinstance(data, list) or len(data) != count:
        raise ValueError(f"{count} vectors were asked for")
    return [{**_checked(each), "embedding": _as(each["embedding"], encoding_format)} for each in data]


def _checked(each: object) -> Mapping[str, Any]:
    if not isinstance(each, Mapping) or not each.get("embedding"):
        raise ValueError("a vector is missing")
    return each


def _as(vector: object, encoding_format: str) -> object:
    if isinstance(vector, str) and encoding_format == "float":
        try:
            return _floats(base64.b64decode(vector, validate=True)).tolist()
        except binascii.Error:
            raise ValueError("a vector cannot be decoded") from None
    if isinstance(vector, list) and encoding_format == "base64":
        try:
            floats = array("f", vector)
        except (TypeError, OverflowError):
            raise ValueError("a vector holds something else than numbers") from None
        return base64.b64encode(_little_endian(floats).tobytes()).decode()
    if not isinstance(vector, str | list):
        raise ValueError("a vector is neither numbers nor base64")
    return vector


def _floats(content: bytes) -> array[float]:
    floats = array("f")
    if len(content) % floats.itemsize:
        raise ValueError("a vector cannot be decoded")
    floats.frombytes(content)
    return _little_endian(floats)


def _little_endian(floats: array[float]) -> array[float]:
    if sys.byteorder == "big":
        floats.byteswap()
    return floats
