"""One `/v1/audio/transcriptions` or `/v1/audio/translations` attempt from its headers to its answer.

The order matters: what can be refused on headers is (a slow upload must not hold what others need), then the body is
spooled and measured, then permission and a slot are taken, then the backend is called, under a deadline that follows
from the measured audio.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import aiohttp
from aiohttp import web

from insource.adapter import rendering
from insource.adapter.attempts import Attempt
from insource.adapter.backends import Backend
from insource.adapter.dialects.seam import Recording, Transcript, TranscriptionDialect, Work
from insource.adapter.metering.measured import Measured, NotAudio
from insource.adapter.metering.pcm import measure_plain_wav, with_true_sizes
from insource.adapter.metering.workers import MeasuringProcesses
from insource.adapter.parameters import Task, Transcription, parse_fields
from insource.adapter.refusals import cannot_serve, client_error, server_failure, timed_out, too_large, too_slow
from insource.adapter.replies import EVENT_STREAM, stream, to_client, whole
from insource.adapter.settings import Patience
from insource.adapter.upload import Spool, Upload
from insource.env import Env
from insource.wire.vocabulary import Unit

TRANSCRIPTIONS = "/v1/audio/transcriptions"
TRANSLATIONS = "/v1/audio/translations"
_EXTENSIONS = {"flac", "mp3", "mp4", "mpeg", "mpga", "m4a", "ogg", "oga", "opus", "wav", "webm"}


class Transcriptions:
    """Handles transcription and translation requests for one backend."""

    def __init__(
        self,
        backend: Backend,
        spool: Spool,
        meter: MeasuringProcesses,
        env: Env,
        patience: Patience,
        max_body_bytes: int,
    ) -> None:
        self._backend = backend
        self._spool = spool
        self._meter = meter
        self._env = env
        self._patience = patience
        self._max_body_bytes = max_body_bytes

    async def handle(self, request: web.BaseRequest, attempt: Attempt) -> web.StreamResponse:
        """Answer one attempt. Raises Refusal, even after a part of the answer has gone out, or ClientGone."""
        task: Task = "translate" if request.path == TRANSLATIONS else "transcribe"
        dialects = self._backend.dialects
        dialect = dialects.translation if task == "translate" else dialects.transcription
        if dialect is None:
            raise cannot_serve(request.path)
        self._backend.check()
        admission = self._backend.admission
        allowed_s = attempt.route.request_timeout_s
        upload: Upload | None = None
        admission.enter()
        try:
            if request.content_length is not None and request.content_length > self._max_body_bytes:
                raise too_large(self._max_body_bytes)
            async with asyncio.timeout(allowed_s - (self._env.clock.monotonic() - attempt.began)) as scope:
                upload = await self._spool.receive(request, self._max_body_bytes)
                return await self._serve(task, dialect, request, attempt, upload, scope)
        except TimeoutError as problem:
            if upload is None:
                raise too_slow(allowed_s) from problem
            raise timed_out("The backend did not answer in time; it may be overloaded or hung.") from problem
        finally:
            admission.leave()
            if upload is not None:
                upload.discard()

    async def _measure(self, sent: bytes | Path) -> tuple[bytes | Path, Measured]:
        """What to transcribe, with a WAV's sizes corrected, and what it holds. Raises 400 if that is no audio."""
        try:
            if isinstance(sent, Path):
                return sent, await self._meter.measure(sent)
            if (plain := measure_plain_wav(sent)) is not None:
                return sent, plain
            content = with_true_sizes(sent)
            if content is not sent and (plain := measure_plain_wav(content)) is not None:
                return content, plain
            with self._spool.on_disk(content) as path:
                return content, await self._meter.measure(path)
        except NotAudio as problem:
            raise client_error(
                f"The file cannot be read as audio: {problem}. Send flac, mp3, mp4, m4a, ogg, wav or webm.",
                param="file",
                code="invalid_audio",
            ) from problem

    async def _serve(
        self,
        task: Task,
        dialect: TranscriptionDialect,
        request: web.BaseRequest,
        attempt: Attempt,
        upload: Upload,
        scope: asyncio.Timeout,
    ) -> web.StreamResponse:
        wanted = parse_fields(upload.fields, task)
        model = self._backend.request_model(attempt.route)
        dialect.check_possible(wanted, model)
        content, measured = await self._measure(upload.content)
        filename = _filename(upload.filename, measured.extension)
        recording = Recording(wanted, content, filename, measured.extension, measured.audio_ms)
        dialect.check_recording(recording, model)
        work = Work(
            wanted=recording,
            model=model,
            shown_model=wanted.model,
            request_id=attempt.identity.request_id,
            hop=attempt.identity.hop,
            number=attempt.identity.number,
        )
        audio = {Unit.AUDIO_MS: measured.audio_ms}
        async with self._backend.admission.slot():
            self._backend.check()
            await self._backend.permit(attempt, audio)
            until = asyncio.get_running_loop().time() + self._patience.deadline_s(audio)
            if until < (scope.when() or 0.0):
                scope.reschedule(until)
            attempt.calls_backend(audio)
            async with self._backend.call(dialect.call(work), scope) as answer:
                if answer.body is not None and not wanted.streaming:
                    response: web.StreamResponse = self._rendered(answer, attempt, wanted, measured)
                else:
                    events = _events_of(answer, attempt, measured)
                    response = await stream(request, attempt, EVENT_STREAM, events)
            attempt.backend_done()
        if wanted.streaming:
            await to_client(response.write_eof())
        return response

    def _rendered(
        self, answer: Transcript, attempt: Attempt, wanted: Transcription, measured: Measured
    ) -> web.Response:
        body = dict(answer.body or {})
        attempt_usage(attempt, body)
        try:
            content = rendering.render(
                wanted.response_format,
                body,
                granularities=wanted.granularities,
                audio_ms=measured.audio_ms,
                task=wanted.task,
            )
        except ValueError as problem:
            raise server_failure(f"The backend's answer is not complete: {problem}.", reason="invalid_answer") from None
        return whole(attempt, rendering.CONTENT_TYPES[wanted.response_format], content)


def attempt_usage(attempt: Attempt, body: dict[str, object]) -> None:
    """A vendor's usage is kept as billed and passed on; our own servers' is replaced by our measure."""
    if attempt.route.vendor:
        usage = body.get("usage")
        if isinstance(usage, Mapping) and usage.get("type") == "duration":
            seconds = usage.get("seconds")
            if isinstance(seconds, int | float) and 0 <= seconds < 10**9:
                attempt.billed(Unit.AUDIO_MS, round(seconds * 1000))
    else:
        body.pop("usage", None)


async def _events_of(answer: Transcript, attempt: Attempt, measured: Measured) -> AsyncGenerator[bytes]:
    """The events for the client, closed by `transcript.text.done`. Raises a Refusal when the backend ends early."""
    if answer.body is not None or answer.events is None:
        body = dict(answer.body or {})
        attempt_usage(attempt, body)
        text = rendering.checked_text(body)
        yield rendering.delta_event(text)
        yield rendering.done_event(text, body.get("usage"), measured.audio_ms)
        return
    try:
        async for event in answer.events:
            if event["type"] == "transcript.text.delta" and isinstance(event.get("delta"), str):
                yield rendering.delta_event(event["delta"])
            elif event["type"] == "transcript.text.done" and isinstance(event.get("text"), str):
                attempt_usage(attempt, event)
                yield rendering.done_event(event["text"], event.get("usage"), measured.audio_ms)
                return
            elif event["type"] == "error":
                break
    except ValueError as problem:
        raise server_failure("The backend sent something else than events.", reason="invalid_answer") from problem
    except (aiohttp.ClientError, OSError) as problem:
        raise server_failure("The backend broke off its answer.", reason="broken_off") from problem
    raise server_failure("The backend's stream ended early.", reason="broken_off")


def _filename(sent: str, extension: str) -> str:
    """A name whose ending tells the format: the client's if it is one of OpenAI's, else the one we found."""
    name = sent.replace("\\", "/").rpartition("/")[2][-100:]
    before, dot, ending = name.rpartition(".")
    if not dot or ending.lower() not in _EXTENSIONS:
        return f"audio.{extension}"
    if not name.isprintable() or '"' in name:
        return "".join(char for char in before if char.isprintable() and char != '"') + dot + ending
    return name
