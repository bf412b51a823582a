"""The embedding server: all-MiniLM-L6-v2 on CPUs, its 6 layers in numpy.

No torch: 22 million weights are a few matrix products, which numpy's BLAS computes about as fast (docs/decisions/0049).
Inputs above 256 tokens are refused, where the model's own card would silently cut them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from insource.servers.embedding import Embedded, EmbeddingModel, EmbeddingServer, InputTooLongError
from insource.servers.model_files import (
    ModelUnavailableError,
    delivered_weights,
    locate_weights,
    verify_weights,
)
from insource.servers.program import run_server
from insource.servers.settings import ServerSettings

log = structlog.get_logger("insource.servers")

WEIGHTS = "model.safetensors"
BATCH_TOKENS = 1024
"""Padding included; what is computed between two looks at whether the client is still there."""
MASKED = -1e9


def run_embed(settings: ServerSettings) -> None:
    """Serve until SIGTERM. Exit status 1, and the reason in the log, if the weights are missing or not those wanted."""
    try:
        weights = minilm_weights(settings)
        run_server(settings, EmbeddingServer(settings, minilm_loader(weights, settings)))
    except ModelUnavailableError as error:
        log.error("model_unavailable", problem=str(error))
        raise SystemExit(1) from None


def minilm_weights(settings: ServerSettings) -> Path:
    """The weights that `settings` name; tokenizer and configuration lie beside. Raises `ModelUnavailableError`."""
    if settings.model_dir is not None:
        return delivered_weights(settings.model_dir, WEIGHTS)
    return locate_weights(settings.model_uri, WEIGHTS)


def minilm_loader(weights: Path, settings: ServerSettings) -> Callable[[], EmbeddingModel]:
    """What loads the model when it is called; it may be called in a thread."""

    def load() -> EmbeddingModel:
        verify_weights(weights, settings.model_sha256)
        return MiniLm(weights.parent)

    return load


class MiniLm:
    """A BERT encoder, mean pooling and vectors of length 1, as sentence-transformers runs it (`modules.json`)."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one per slot; read when numpy is imported first
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        import tokenizers
        from safetensors.numpy import load_file

        try:
            config = json.loads((folder / "config.json").read_text())
            self._most_tokens: int = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
            self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._weights = _prepared(load_file(str(folder / WEIGHTS)))
        except (OSError, ValueError, KeyError) as error:
            raise ModelUnavailableError(f"{folder}: this is no sentence-transformers model of BERT: {error}") from error
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise ModelUnavailableError(f"{folder}/config.json: the embed server runs BERT with gelu only")
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._layers: int = config["num_hidden_layers"]
        self._heads: int = config["num_attention_heads"]
        self._epsilon: float = config["layer_norm_eps"]
        self.dimensions: int = config["hidden_size"]

    def embed(self, texts: Sequence[str], left: Callable[[], bool]) -> Embedded | None:
        """See `EmbeddingModel`."""
        import numpy

        tokens: list[list[int]] = []
        for index, text in enumerate(texts):
            tokens.append(self._tokenizer.encode(text).ids)
            if len(tokens[-1]) > self._most_tokens:
                raise InputTooLongError(index, len(tokens[-1]), self._most_tokens)
            if left():
                return None
        vectors = numpy.empty((len(texts), self.dimensions), numpy.float32)
        for batch in batches([len(ids) for ids in tokens], BATCH_TOKENS):
            if left():
                return None
            vectors[batch] = self._vectors([tokens[index] for index in batch])
        return Embedded(vectors, sum(map(len, tokens)))

    def _vectors(self, tokens: Sequence[Sequence[int]]) -> Any:
        import numpy

        longest = max(map(len, tokens))
        ids = numpy.zeros((len(tokens), longest), numpy.int64)
        present = numpy.zeros((len(tokens), longest), numpy.float32)
        for row, of_text in enumerate(tokens):
            ids[row, : len(of_text)] = of_text
            present[row, : len(of_text)] = 1.0
        hidden = self._encode(ids, (1.0 - present)[:, None, None, :] * MASKED)
        means = (hidden * present[:, :, None]).sum(axis=1) / present.sum(axis=1, keepdims=True)
        return means / numpy.maximum(numpy.linalg.norm(means, axis=1, keepdims=True), 1e-12)

    def _encode(self, ids: Any, mask: Any) -> Any:
        """Hidden states [batch, tokens, dimensions] of token `ids`; `mask` is added to the scores of attention."""
        w = self._weights
        hidden = w["embeddings.word_embeddings.weight"][ids] + w["positions"][: ids.shape[1]]
        hidden = self._norm(hidden, "embeddings.LayerNorm")
        for number in range(self._layers):
            layer = f"encoder.layer.{number}."
            attended = self._attention(hidden, mask, layer + "attention.self.")
            attended = self._linear(attended, layer + "attention.output.dense")
            hidden = self._norm(attended + hidden, layer + "attention.output.LayerNorm")
            grown = gelu(self._linear(hidden, layer + "intermediate.dense"))
            hidden = self._norm(self._linear(grown, layer + "output.dense") + hidden, layer + "output.LayerNorm")
        return hidden

    def _attention(self, hidden: Any, mask: Any, prefix: str) -> Any:
        import numpy

        batch, length, size = hidden.shape
        each = size // self._heads
        query, key, value = (
            self._linear(hidden, prefix + name).reshape(batch, length, self._heads, each).transpose(0, 2, 1, 3)
            for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2)
        scores *= numpy.float32(1 / math.sqrt(each))
        scores += mask
        scores -= scores.max(axis=-1, keepdims=True)
        numpy.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        return (scores @ value).transpose(0, 2, 1, 3).reshape(batch, length, size)

    def _linear(self, x: Any, name: str) -> Any:
        """`x` times the weights; all rows as one matrix, which BLAS computes at once."""
        weight = self._weights[f"{name}.weight"]
        product = x.reshape(-1, x.shape[-1]) @ weight
        product += self._weights[f"{name}.bias"]
        return product.reshape(*x.shape[:-1], weight.shape[1])

    def _norm(self, x: Any, name: str) -> Any:
        import numpy

        x = x - x.mean(axis=-1, keepdims=True)
        x /= numpy.sqrt(numpy.square(x).mean(axis=-1, keepdims=True) + self._epsilon)
        x *= self._weights[f"{name}.weight"]
        x += self._weights[f"{name}.bias"]
        return x


def batches(lengths: Sequence[int], most_tokens: int) -> list[list[int]]:
    """Indices of texts, the short ones first, in groups that have at most `most_tokens` with their padding.

    A group of one may have more.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if groups and (len(groups[-1]) + 1) * lengths[index] <= most_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def gelu(x: Any) -> Any:
    """`x * (1 + erf(x / sqrt 2)) / 2` in float32, erf by Abramowitz and Stegun 7.1.26 (error below 1.5e-7)."""
    import numpy

    z = numpy.abs(x)
    z *= numpy.float32(1 / math.sqrt(2))
    t = z * numpy.float32(0.3275911)
    t += numpy.float32(1)
    numpy.reciprocal(t, out=t)
    tail = t * numpy.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += numpy.float32(coefficient)
        tail *= t
    numpy.square(z, out=z)
    numpy.negative(z, out=z)
    numpy.exp(z, out=z)
    tail *= z  # 1 - erf(|x| / sqrt 2)
    numpy.subtract(numpy.float32(1), tail, out=tail)
    numpy.copysign(tail, x, out=tail)
    tail += numpy.float32(1)
    tail *= x
    tail *= numpy.float32(0.5)
    return tail


def _prepared(weights: dict[str, Any]) -> dict[str, Any]:
    """Matrices as `x @ weight` wants them, and what positions and the one token type add, summed."""
    import numpy

    prepared = {
        name: numpy.asarray(value, numpy.float32) for name, value in weights.items() if "position_ids" not in name
    }
    for name, value in prepared.items():
        if name.endswith(".weight") and value.ndim == 2 and "embeddings" not in name:
            prepared[name] = numpy.ascontiguousarray(value.T)
    prepared["positions"] = (
        prepared["embeddings.position_embeddings.weight"] + prepared["embeddings.token_type_embeddings.weight"][0]
    )
    return prepared
