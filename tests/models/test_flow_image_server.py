"""The flow-image server with the committed weights, by the OpenAI SDK: what it draws, as what, and in which steps."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import itertools
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import openai
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from PIL import Image
from training.classifier import HELD_OUT_SEED, load, samples, scores
from training.evaluation import drawings, judge, prompt
from training.provenance import behaviour, recipe_sha256

from insource.api.catalogue import builtin_objects
from insource.env import Env, SystemClock, SystemIds
from insource.servers.flow_image import FlowPainter, flow_loader, flow_weights
from insource.servers.flow_sampling import FOLDER, STEPS, WEIGHTS, FlowModel, provenance
from insource.servers.flow_vocabulary import SHAPES
from insource.servers.image_request import ImageRequest
from insource.servers.images import ImageServer, LeftError
from insource.servers.model_files import ModelUnavailableError
from insource.servers.settings import ServerSettings
from tests.model_servers import asked_by_sdk
from tests.programs import program

pytestmark = [pytest.mark.models, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
MODEL = "flow-32"
CLASSIFIER = Path(__file__).parent / "shape_classifier.npz"


@pytest.fixture(scope="module")
def model() -> FlowModel:
    return FlowModel((FOLDER / WEIGHTS).read_bytes())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sdk() -> AsyncIterator[openai.AsyncOpenAI]:
    settings = ServerSettings(model_name=MODEL, model_sha256=provenance()["sha256"], slots=2)
    env = Env(SystemClock(), SystemIds(), random.Random(48))
    server = ImageServer(settings, flow_loader(flow_weights(settings), settings), env)
    async with asked_by_sdk(server) as client:
        yield client


def pixels(answer: openai.types.ImagesResponse) -> list[NDArray[np.float32]]:
    """Each picture [height, width, 3] in -1..1."""
    files = [base64.b64decode(item.b64_json or "") for item in answer.data or []]
    return [np.asarray(Image.open(io.BytesIO(file)).convert("RGB"), np.float32) / 127.5 - 1 for file in files]


async def test_pictures_show_what_was_asked_for(sdk: openai.AsyncOpenAI) -> None:
    asked = drawings()
    assert len(asked) == 48
    assert {drawing.shape for drawing in asked} == set(SHAPES)

    async def drawn(text: str) -> NDArray[np.float32]:
        answer = await sdk.images.generate(model=MODEL, prompt=text, size="32x32")  # type: ignore[arg-type]
        return pixels(answer)[0]

    pictures = np.stack(await asyncio.gather(*(drawn(prompt(drawing)) for drawing in asked)))
    found = judge(pictures, asked, load(CLASSIFIER))
    print(found)
    assert found.shapes >= 0.60
    assert found.colours >= 0.90
    assert found.backgrounds >= 0.95


async def test_the_classifier_knows_drawings_that_it_has_not_seen() -> None:
    pictures, truth = samples(320, HELD_OUT_SEED + 2)
    assert (scores(load(CLASSIFIER), pictures).argmax(1) == truth).mean() >= 0.95
    assert hashlib.sha256(CLASSIFIER.read_bytes()).hexdigest() == provenance()["classifier_sha256"]


async def test_the_classifier_finds_no_shape_in_shuffled_pixels() -> None:
    pictures, truth = samples(320, HELD_OUT_SEED + 3)
    shuffled = np.random.default_rng(1).permuted(pictures.reshape(320, 1024, 3), axis=1).reshape(pictures.shape)
    assert (scores(load(CLASSIFIER), shuffled).argmax(1) == truth).mean() <= 0.25, "chance is 0.125"


@pytest.mark.parametrize(("output_format", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
async def test_every_format_and_size(sdk: openai.AsyncOpenAI, output_format: str, kind: str) -> None:
    for size in ("256x256", "512x512", "1024x1024", "1536x1024", "96x288"):
        answer = await sdk.images.generate(
            model=MODEL,
            prompt="a large red circle on blue",
            size=size,  # type: ignore[arg-type]
            quality="low",
            output_format=output_format,  # type: ignore[arg-type]
        )
        assert (answer.size, answer.output_format, answer.quality) == (size, output_format, "low")
        image = Image.open(io.BytesIO(base64.b64decode((answer.data or [])[0].b64_json or "")))
        assert image.format == kind
        assert "x".join(map(str, image.size)) == size


async def test_less_compression_keeps_more(model: FlowModel) -> None:
    painter = FlowPainter(model)
    for output_format in ("jpeg", "webp"):
        sizes = []
        for compression in (0, 50, 100):
            asked = ImageRequest("a star", 1, 256, 256, "low", output_format, compression)
            sizes.append(len(painter.paint(asked, 1, lambda: False).files[0]))
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[-1]


async def test_a_wide_picture_keeps_the_shape_and_goes_on_at_its_sides(model: FlowModel) -> None:
    painter = FlowPainter(model)
    wide, square = (
        np.asarray(Image.open(io.BytesIO(painter.paint(asked, 1, lambda: False).files[0])))
        for asked in (ImageRequest("a large white star on black", 1, width, 32, "low") for width in (96, 32))
    )
    assert (wide[:, 32:64] == square).all()
    assert (wide[:, :32] == square[:, :1]).all()
    assert (wide[:, 64:] == square[:, -1:]).all()


async def test_every_picture_of_a_request_is_another(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.images.generate(model=MODEL, prompt="a star", n=10, size="32x32", quality="low")  # type: ignore[arg-type]
    assert len({picture.tobytes() for picture in pixels(answer)}) == 10
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (1, 2560)
    again = await sdk.images.generate(model=MODEL, prompt="a star", size="32x32", quality="low")  # type: ignore[arg-type]
    assert pixels(again)[0].tobytes() not in {picture.tobytes() for picture in pixels(answer)}


async def test_a_seed_repeats_whatever_stands_beside_it(model: FlowModel) -> None:
    painter = FlowPainter(model)
    one, same, other, three = (
        painter.paint(ImageRequest("a blue ring", n, 32, 32, "low"), seed, lambda: False).files
        for n, seed in ((1, 7), (1, 7), (1, 8), (3, 7))
    )
    assert list(one) == list(same)
    assert list(one) != list(other)
    first, beside = (np.asarray(Image.open(io.BytesIO(files[0])), np.int16) for files in (one, three))
    assert np.abs(first - beside).max() <= 1, "sums in another order may round to the next value"


async def test_steps_are_real(model: FlowModel) -> None:
    condition = (1, 2, 1, 5)
    assert [len(list(model.sample(condition, [(1, 0)], steps))) for steps in STEPS.values()] == [8, 20, 40]
    after = [picture[0] for picture in model.sample(condition, [(1, 0)], 8)]
    changes = [float(np.abs(late - early).mean()) for early, late in itertools.pairwise(after)]
    assert min(changes) > 0.001, "every step changes the picture"
    first, last = (float(np.abs(picture).max()) for picture in (after[0], after[-1]))
    assert first > 1.5, "it begins in noise"
    assert last <= 1.001, "and ends in a picture"


async def test_leaving_stops_between_steps(model: FlowModel) -> None:
    asked_times = []

    def left() -> bool:
        asked_times.append(1)
        return len(asked_times) == 3

    with pytest.raises(LeftError):
        FlowPainter(model).paint(ImageRequest("a star", quality="high"), 1, left)
    assert len(asked_times) == 3


async def test_a_prompt_outside_the_vocabulary_is_a_400_that_lists_it(sdk: openai.AsyncOpenAI) -> None:
    for text in ("a photo of a cat", "the digit 7", ""):
        with pytest.raises(openai.BadRequestError) as refused:
            await sdk.images.generate(model=MODEL, prompt=text)
        assert (refused.value.param, refused.value.code) == ("prompt", "prompt_outside_vocabulary")
        assert all(shape in refused.value.message for shape in SHAPES)
        assert "toy" in refused.value.message
    with pytest.raises(openai.BadRequestError, match="'seed'"):
        await sdk.images.generate(model=MODEL, prompt="a star", extra_body={"seed": 7})


async def test_weights_recipe_and_catalogue_belong_together() -> None:
    told = provenance()
    assert hashlib.sha256((FOLDER / WEIGHTS).read_bytes()).hexdigest() == told["sha256"]
    assert told["recipe_sha256"] == recipe_sha256(), "the recipe has changed: make train-image"
    found = [obj for obj in builtin_objects() if (obj["kind"], obj["metadata"]["name"]) == ("CatalogModel", MODEL)]
    assert [source["sha256"] for source in found[0]["spec"]["sources"]] == [told["sha256"]]


async def test_the_recipes_hash_is_of_what_it_does() -> None:
    one = '"""A."""\nimport a\nX: int = 1\n"""Doc."""\n\ndef f(a: int) -> int:  # why\n    """B."""\n    return a + X\n'
    same = "from b import a\nX = 1\ndef f(a):\n    return (a + X)\n"
    assert behaviour(one) == behaviour(same)
    assert behaviour(one) != behaviour(same.replace("1", "2"))


async def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"hf://"):
        flow_weights(ServerSettings(model_uri="hf://some/model"))
    with pytest.raises(ModelUnavailableError, match=r"no such file; name flow-32.onnx"):
        flow_weights(ServerSettings(model_dir=tmp_path))
    (tmp_path / WEIGHTS).write_bytes(b"not a network")
    settings = ServerSettings(model_dir=tmp_path)
    with pytest.raises(ModelUnavailableError, match="no flow-32 network"):
        flow_loader(flow_weights(settings), settings)()
    settings = ServerSettings(model_uri="package://insource", model_sha256="0" * 64)
    with pytest.raises(ModelUnavailableError, match="MODEL_SHA256"):
        flow_loader(flow_weights(settings), settings)()


async def test_the_program_serves_and_ends_with_the_reason(tmp_path: Path) -> None:
    code = (
        "import os\nfrom insource.servers.flow_image import run_flow_image\n"
        "from insource.servers.settings import server_settings\nrun_flow_image(server_settings(os.environ))"
    )
    environment = {**os.environ, "PORT": "0", "MODEL_NAME": MODEL, "MODEL_URI": "package://insource"}
    with program(code, environment) as started:
        async with openai.AsyncOpenAI(base_url=f"{started.url}/v1", api_key="none", max_retries=20) as client:
            answer = await client.images.generate(model=MODEL, prompt="a red circle")
        assert pixels(answer)[0].shape == (1024, 1024, 3)
        started.process.terminate()
        await asyncio.to_thread(started.process.wait)
        assert started.process.returncode == 0
    with program(code, {**environment, "MODEL_SHA256": "0" * 64}) as started:
        rest = await asyncio.to_thread(started.process.communicate)
    assert started.process.returncode == 1
    assert b"MODEL_SHA256" in rest[0]
