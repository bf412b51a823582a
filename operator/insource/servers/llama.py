"""The llama server: GGUF language models on CPUs by llama.cpp, in this process (package xllamacpp).

One engine per slot, each on one thread and with a context of its own: llama.cpp computes the sequences of one context
together, in whatever company they meet, and rounding then differs, so that temperature 0 would not give the same text
twice (docs/decisions/0049). The weights are mapped once for all. A base model, such as gemma3-270m, has no template for
chats: it is shown a transcript, and its answers are weak.
"""

from __future__ import annotations

import os
import queue
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from insource.servers.generation import (
    ContextLengthError,
    Emit,
    Finish,
    LanguageModel,
    Piece,
    PromptRefusedError,
    Task,
)
from insource.servers.gguf import cache_folders, gguf_weights, has_chat_template
from insource.servers.model_files import ModelUnavailableError
from insource.servers.program import run_server
from insource.servers.settings import LlamaSettings
from insource.servers.text import TextServer
from insource.servers.text_requests import Message

log = structlog.get_logger("insource.servers")

PROMPT_STRETCH = 64
"""Tokens of prompt between two looks at whether the client is still there."""
SEEDS = 2**32 - 1
"""llama.cpp's seeds are below; this one itself asks it for a random seed."""
SPEAKERS = {"user": "User", "assistant": "Assistant"}
NEXT_TURN = "\nUser:"
SILENT = -1


def run_llama(settings: LlamaSettings) -> None:
    """Serve until SIGTERM. Exit status 1, and the reason in the log, if the weights are missing or not those wanted."""
    try:
        run_server(settings.server, TextServer(settings.server, llama_loader(settings, cache_folders(os.environ))))
    except ModelUnavailableError as error:
        log.error("model_unavailable", problem=str(error))
        raise SystemExit(1) from None


def llama_loader(settings: LlamaSettings, folders: Sequence[Path]) -> Callable[[], LanguageModel]:
    """What loads the model when it is called; it may be called in a thread. `folders`: see `gguf_weights`."""

    def load() -> LanguageModel:
        weights = gguf_weights(settings.server, folders)
        return LlamaModel(weights, settings.server.slots, settings.context_tokens)

    return load


@dataclass
class _Heard:
    """What an engine has said of one task so far."""

    text: bool = False
    reason: str = ""
    usage: dict[str, Any] | None = None


class LlamaModel:
    """A GGUF model; `slots` texts may be generated at once, each within `context_tokens`."""

    def __init__(self, weights: Path, slots: int, context_tokens: int) -> None:
        self.context_tokens = context_tokens
        self._chats = has_chat_template(weights)
        self._engines: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(slots):
            self._engines.put(_engine(weights, context_tokens))

    def generate(self, task: Task, emit: Emit) -> None:
        """See `LanguageModel`."""
        engine = self._engines.get()
        try:
            self._generate(engine, task, emit)
        finally:
            self._engines.put(engine)

    def _generate(self, engine: Any, task: Task, emit: Emit) -> None:
        heard = _Heard()
        as_transcript = bool(task.messages) and not self._chats

        def hear(event: dict[str, Any]) -> bool:
            if "error" in event:
                raise _refusal(event["error"])
            heard.usage = event.get("usage") or heard.usage
            for choice in event.get("choices", ()):
                heard.reason = choice.get("finish_reason") or heard.reason
                text = choice.get("text") or choice.get("delta", {}).get("content") or ""
                if as_transcript and not heard.text:
                    text = text.lstrip()
                if text:
                    heard.text = True
                    return emit(Piece(task.index, text))
            return emit(None)

        asked = engine_request(task, as_transcript=as_transcript)
        if "messages" in asked:
            _ask(engine.handle_chat_completions, asked, hear)
        else:
            _ask(engine.handle_completions, asked, hear)
        if heard.reason and heard.usage is not None:
            counted = heard.usage
            emit(Finish(task.index, heard.reason, counted["prompt_tokens"], counted["completion_tokens"]))


def engine_request(task: Task, *, as_transcript: bool) -> dict[str, Any]:
    """What llama.cpp is asked for: OpenAI's parameters only, its own samplers (top-k, min-p) off."""
    sampling = task.sampling
    asked: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "stop": [*sampling.stop, NEXT_TURN] if as_transcript else list(sampling.stop),
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
        "cache_prompt": False,  # what is left of an earlier prompt would be computed in other company
    }
    if sampling.max_tokens is not None:
        asked["max_tokens"] = sampling.max_tokens
    if sampling.seed is not None:
        asked["seed"] = sampling.seed % SEEDS
    if as_transcript:
        asked["prompt"] = transcript(task.messages)
    elif task.messages:
        asked["messages"] = [{"role": message.role, "content": message.text} for message in task.messages]
    else:
        asked["prompt"] = task.prompt
    return asked


def transcript(messages: Sequence[Message]) -> str:
    """A chat as text that a base model can go on with: what the system says, then a line for each turn."""
    turns = [
        f"{SPEAKERS[message.role]}: {message.text}" if message.role in SPEAKERS else f"{message.text}\n"
        for message in messages
    ]
    return "\n".join([*turns, "Assistant:"])


def _ask(handle: Callable[[dict[str, Any], Callable[[dict[str, Any]], bool]], None], asked: Any, hear: Any) -> None:
    """Call an engine; what `hear` raises is raised here, for it cannot cross the engine."""
    raised: list[Exception] = []

    def guarded(event: Any) -> bool:
        try:
            return bool(hear(event))
        except Exception as error:
            raised.append(error)
            return True

    handle(asked, guarded)
    if raised:
        raise raised[0]


def _refusal(error: dict[str, Any]) -> Exception:
    if error.get("type") == "exceed_context_size_error":
        return ContextLengthError(
            f"This model's context has {error.get('n_ctx')} tokens, and the prompt alone has "
            f"{error.get('n_prompt_tokens')}; shorten it."
        )
    if error.get("type") == "invalid_request_error":
        return PromptRefusedError(str(error.get("message")))
    return RuntimeError(str(error.get("message")))


def _engine(weights: Path, context_tokens: int) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.n_ctx = context_tokens
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = PROMPT_STRETCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.no_extra_bufts = True  # weights stay mapped from the file, and are shared by the slots
    params.cache_ram_mib = 0
    params.warmup = False
    params.offline = True
    params.ui = False
    params.endpoint_slots = False
    params.n_threads_http = 1
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    params.verbosity = SILENT  # it writes no JSON, and prompts at the higher levels
    # It insists on an HTTP server of its own: on a socket in a folder that only we may enter, and that is gone at once.
    with tempfile.TemporaryDirectory(prefix="llama-") as folder:
        params.hostnames = [f"{folder}/http.sock"]
        try:
            return xllamacpp.Server(params)
        except RuntimeError as error:
            raise ModelUnavailableError(
                f"{weights}: llama.cpp cannot load it with a context of {context_tokens} tokens; it must be a GGUF "
                f"language model that fits the memory ({error})"
            ) from error
