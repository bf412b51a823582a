"""The flow-image server: `flow-32`, a toy of 32x32 pixels that this repository trained, behind OpenAI's images API.

The sampling loop, its steps and their cost are those of a real diffusion server; the pictures are shapes in two
colours. A prompt outside its vocabulary is refused with the vocabulary. The weights are in this package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from insource.env import system_env
from insource.servers.flow_prompts import PromptError, read_prompt
from insource.servers.flow_sampling import FOLDER, WEIGHTS, FlowModel
from insource.servers.image_request import ImageRequest
from insource.servers.images import ImageServer, LeftError, Painted, Painter
from insource.servers.model_files import ModelUnavailableError
from insource.servers.program import run_server
from insource.servers.requests import RefusedRequestError
from insource.servers.settings import ServerSettings

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

log = structlog.get_logger("insource.servers")

URI = "package://insource"
CELLS = 256
"""The network works on 16x16 cells of 2x2 pixels: this model's image tokens per picture."""


def run_flow_image(settings: ServerSettings) -> None:
    """Serve until SIGTERM. Exit status 1, and the reason in the log, if the weights are missing or not those wanted."""
    try:
        run_server(settings, ImageServer(settings, flow_loader(flow_weights(settings), settings), system_env()))
    except ModelUnavailableError as error:
        log.error("model_unavailable", problem=str(error))
        raise SystemExit(1) from None


def flow_weights(settings: ServerSettings) -> Path:
    """The weights' file: delivered, or of this package. Raises `ModelUnavailableError`."""
    if settings.model_dir is None and settings.model_uri not in ("", URI):
        raise ModelUnavailableError(
            f"MODEL_URI={settings.model_uri!r}: this server has the weights of {URI}; others are delivered (MODEL_DIR)"
        )
    weights = (settings.model_dir or FOLDER) / WEIGHTS
    if not weights.is_file():
        raise ModelUnavailableError(f"{weights}: there is no such file; name {WEIGHTS} among the files of the source")
    return weights


def flow_loader(weights: Path, settings: ServerSettings) -> Callable[[], Painter]:
    """What loads `weights` when it is called; it may be called in a thread."""

    def load() -> Painter:
        content = weights.read_bytes()
        actual = hashlib.sha256(content).hexdigest()
        if settings.model_sha256 and actual != settings.model_sha256:
            raise ModelUnavailableError(
                f"{weights}: SHA-256 is {actual}, but MODEL_SHA256 asks for {settings.model_sha256}; "
                "correct the CatalogModel if these weights are wanted"
            )
        try:
            return FlowPainter(FlowModel(content))
        except Exception as error:
            raise ModelUnavailableError(f"{weights}: it is no flow-32 network: {str(error)[:300]}") from error

    return load


class FlowPainter:
    """`flow-32` as a `Painter`."""

    def __init__(self, model: FlowModel) -> None:
        self._model = model

    def check(self, asked: ImageRequest) -> None:
        """See `Painter`."""
        try:
            read_prompt(asked.prompt)
        except PromptError as error:
            raise RefusedRequestError(str(error), param="prompt", code="prompt_outside_vocabulary") from None

    def paint(self, asked: ImageRequest, seed: int, left: Callable[[], bool]) -> Painted:
        """See `Painter`. Picture k has a seed of its own, made of `seed` and k."""
        from insource.servers.pictures import encode

        drawing = read_prompt(asked.prompt)
        seeds = [(seed, number) for number in range(asked.n)]
        result: list[NDArray[numpy.float32]] = []
        for after_step in self._model.sample(drawing.condition, seeds, asked.steps):
            _check_wanted(left)
            result = list(after_step)
        files = []
        for picture in result:
            files.append(encode(picture, asked))
            _check_wanted(left)
        return Painted(files, steps=asked.steps, text_tokens=drawing.words, image_tokens=CELLS * asked.n)


def _check_wanted(left: Callable[[], bool]) -> None:
    if left():
        raise LeftError
