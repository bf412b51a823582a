"""`/v1/images/generations` and `/v1/images/edits`: a prompt in, pictures out, counted while they stream through.

Counted in images and in pixels (by the pictures' own headers), and in pixel-steps where a server of ours tells its
steps. Tokens are estimated, too: an answer of a vendor that bills them and reports none is never free, and what a
server of ours has made can be compared with what it would have cost there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from insource.adapter.attempts import Attempt
from insource.adapter.dialects.seam import Answer, Dialect, Dialects
from insource.adapter.json_body import read_json
from insource.adapter.metering.pictures import PIXELS_PER_IMAGE_TOKEN, PictureScanner
from insource.adapter.metering.tokens import tokens_of_input
from insource.adapter.picture_form import Editing, Picture, read_pictures
from insource.adapter.refusals import server_failure
from insource.adapter.replies import stream
from insource.adapter.requests import ImageGeneration, whole_size
from insource.adapter.upload import Spool
from insource.wire.vocabulary import Modality, Unit

SIZE_UNSAID = (1024, 1024)
"""OpenAI's, where a request leaves it open and the pictures do not tell."""
_HELD_BACK_BYTES = 64 * 1024
"""What may come before the first picture."""


class ImageGenerations:
    """See `Operation`."""

    path = "/v1/images/generations"
    modality = Modality.IMAGE
    limit_bytes = 512 * 1024
    """Above the longest prompt, all of it escaped."""

    @asynccontextmanager
    async def receive(self, request: web.BaseRequest, limit_bytes: int) -> AsyncIterator[ImageGeneration]:
        """See `Operation`."""
        yield ImageGeneration.of(await read_json(request, limit_bytes))

    def dialect(self, dialects: Dialects) -> Dialect[ImageGeneration] | None:
        """See `Operation`."""
        return dialects.image_generation

    def known(self, wanted: ImageGeneration, attempt: Attempt) -> Mapping[Unit, int]:  # noqa: ARG002
        """See `Operation`."""
        width, height = whole_size(wanted.size) or SIZE_UNSAID
        work = {Unit.IMAGES: wanted.n, Unit.PIXELS: wanted.n * width * height}
        return {**work, **_tokens(wanted, work[Unit.PIXELS])}

    def most(self, wanted: ImageGeneration, attempt: Attempt) -> Mapping[Unit, int]:
        """See `Operation`."""
        return self.known(wanted, attempt)

    async def answer(
        self, request: web.BaseRequest, attempt: Attempt, wanted: ImageGeneration, given: Answer
    ) -> web.StreamResponse:
        """See `Operation`."""
        return await stream(request, attempt, "application/json", _pictures(given, attempt, wanted))


class ImageEdits:
    """See `Operation`."""

    path = "/v1/images/edits"
    modality = Modality.IMAGE
    limit_bytes = 1 << 40
    """The deployment's own limit is what counts: the pictures lie on disk."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    @asynccontextmanager
    async def receive(self, request: web.BaseRequest, limit_bytes: int) -> AsyncIterator[Editing]:
        """See `Operation`."""
        stored: list[Picture] = []
        try:
            yield await read_pictures(request, self._spool, limit_bytes, stored)
        finally:
            for picture in stored:
                picture.path.unlink(missing_ok=True)

    def dialect(self, dialects: Dialects) -> Dialect[Editing] | None:
        """See `Operation`."""
        return dialects.image_edit

    def known(self, wanted: Editing, attempt: Attempt) -> Mapping[Unit, int]:
        """See `Operation`; the tokens of the pictures that go in are estimated, too, but for a mask, which is none."""
        sizes = [picture.size or SIZE_UNSAID for picture in wanted.pictures if picture.name != "mask"]
        entered = sum(_image_tokens(width * height) for width, height in sizes)
        return {**ImageGenerations().known(wanted.wanted, attempt), Unit.INPUT_IMAGE_TOKENS: entered}

    def most(self, wanted: Editing, attempt: Attempt) -> Mapping[Unit, int]:
        """See `Operation`."""
        return self.known(wanted, attempt)

    async def answer(
        self, request: web.BaseRequest, attempt: Attempt, wanted: Editing, given: Answer
    ) -> web.StreamResponse:
        """See `Operation`."""
        return await stream(request, attempt, "application/json", _pictures(given, attempt, wanted.wanted))


async def _pictures(given: Answer, attempt: Attempt, wanted: ImageGeneration) -> AsyncGenerator[bytes]:
    """The answer as it comes, from its first picture on. Raises a Refusal if it is none, or is not whole."""
    scanner = PictureScanner()
    held = bytearray()
    async for chunk in given.chunks:
        scanner.feed(chunk)
        if scanner.failed:
            break
        if not scanner.pictures:
            held += chunk
            if len(held) > _HELD_BACK_BYTES:
                break
            continue
        _check_kind(scanner, wanted)
        if held:
            chunk = bytes(held) + chunk
            held.clear()
        yield chunk
    if not scanner.pictures:
        raise server_failure("The backend's answer has no pictures.", reason="invalid_answer")
    if scanner.failed or not scanner.complete:
        raise server_failure("The backend broke off its answer.", reason="broken_off")
    _count(attempt, wanted, scanner)


def _check_kind(scanner: PictureScanner, wanted: ImageGeneration) -> None:
    if wanted.response_format is None:
        return
    links = wanted.response_format == "url"
    if (scanner.urls == scanner.pictures) != links:
        raise server_failure(
            f"The backend's answer has {'pictures' if links else 'links'} instead of {wanted.response_format}.",
            reason="invalid_answer",
        )


def _count(attempt: Attempt, wanted: ImageGeneration, scanner: PictureScanner) -> None:
    pixels = scanner.pixels(whole_size(wanted.size) or SIZE_UNSAID)
    attempt.measured(Unit.IMAGES, scanner.pictures)
    attempt.measured(Unit.PIXELS, pixels)
    for unit, quantity in _tokens(wanted, pixels).items():
        attempt.measured(unit, quantity)
    usage = scanner.usage
    if not attempt.route.vendor:
        steps = usage.get("steps")
        if isinstance(steps, int) and not isinstance(steps, bool) and 0 < steps <= 10_000:
            attempt.measured(Unit.PIXEL_STEPS, pixels * steps)
        return
    drawn = _count_of(usage, "output_tokens_details", "image_tokens") or _count_of(usage, "output_tokens")
    if drawn:  # none makes no picture: such a count is no bill
        attempt.billed(Unit.IMAGE_TOKENS, drawn)
    if read := _count_of(usage, "input_tokens"):
        entered = 0
        if attempt.counted(Unit.INPUT_IMAGE_TOKENS):
            # Which of them are the pictures' not every vendor tells; text's can be estimated better than theirs.
            estimated = max(0, read - attempt.counted(Unit.INPUT_TOKENS))
            entered = min(read, _count_of(usage, "input_tokens_details", "image_tokens") or estimated)
            attempt.billed(Unit.INPUT_IMAGE_TOKENS, entered)
        attempt.billed(Unit.INPUT_TOKENS, read - entered)


def _count_of(usage: Mapping[str, object], *path: str) -> int:
    """The count that lies there; 0 if there is none."""
    found: object = usage
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0


def _image_tokens(pixels: int) -> int:
    """Of pictures, by our estimate."""
    return -(-pixels // PIXELS_PER_IMAGE_TOKEN)


def _tokens(wanted: ImageGeneration, pixels: int) -> dict[Unit, int]:
    """What a vendor that bills tokens may count, by our estimate."""
    return {
        Unit.INPUT_TOKENS: tokens_of_input(wanted.prompt),
        Unit.IMAGE_TOKENS: _image_tokens(pixels),
    }
