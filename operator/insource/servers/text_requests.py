"""Reading `POST /v1/completions` and `/v1/chat/completions` into a `TextRequest`, or an error that names the parameter.

What the engine does not honour as OpenAI means it is refused by name: `echo`, `logprobs`, `suffix`, penalties, tools
and their like are taken only with the value that has no effect. `user` is taken and not used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from insource.servers.json_body import Body, shortened
from insource.servers.requests import RefusedRequestError

MAX_BODY_BYTES = 8 << 20
MOST_CHOICES = 128
"""Of one request: prompts times `n`."""
MOST_STOPS = 4
MOST_SEED = 2**63 - 1
DEFAULT_COMPLETION_TOKENS = 16
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class Message:
    """One turn of a chat; `role` is system, user or assistant."""

    role: str
    text: str


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. `max_tokens` None: as many as the context has room for."""

    max_tokens: int | None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextRequest:
    """What the client asked for: `prompts` of a completion, or the one chat in `messages`; each gets `n` answers."""

    model: str
    sampling: Sampling
    prompts: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    n: int = 1
    stream: bool = False
    include_usage: bool = False

    def sampling_of(self, again: int) -> Sampling:
        """Of the choice number `again` of one prompt: with a seed of its own, or all would be the same text."""
        seed = self.sampling.seed
        return self.sampling if seed is None else replace(self.sampling, seed=seed + again)

    @property
    def choices(self) -> int:
        """How many texts are generated."""
        return self.n * max(1, len(self.prompts))


def completion_request(body: Body, model_name: str, context_tokens: int) -> TextRequest:
    """Of `/v1/completions`. Raises `RefusedRequestError`."""
    model = body.model(model_name)
    prompts = _prompts(body.take("prompt"))
    max_tokens = body.integer("max_tokens", least=1, most=context_tokens)
    body.neutral(best_of=1, echo=False, suffix="")
    return _request(body, model, max_tokens or DEFAULT_COMPLETION_TOKENS, prompts=prompts)


def chat_request(body: Body, model_name: str, context_tokens: int) -> TextRequest:
    """Of `/v1/chat/completions`. Raises `RefusedRequestError`."""
    model = body.model(model_name)
    messages = _messages(body.take("messages"))
    older = body.integer("max_tokens", least=1, most=context_tokens)
    newer = body.integer("max_completion_tokens", least=1, most=context_tokens)
    if older is not None and newer is not None:
        message = "max_tokens and max_completion_tokens say the same: give one of them."
        raise RefusedRequestError(message, param="max_tokens")
    body.neutral(response_format={"type": "text"}, tools=[], tool_choice="none", modalities=["text"])
    return _request(body, model, newer if older is None else older, messages=messages)


def _request(
    body: Body,
    model: str,
    max_tokens: int | None,
    *,
    prompts: tuple[str, ...] = (),
    messages: tuple[Message, ...] = (),
) -> TextRequest:
    sampling = Sampling(
        max_tokens=max_tokens,
        temperature=body.number("temperature", 1.0, least=0, most=2),
        top_p=body.number("top_p", 1.0, least=0, most=1),
        seed=body.integer("seed", least=-MOST_SEED - 1, most=MOST_SEED),
        stop=_stop(body.take("stop")),
    )
    n = body.integer("n", least=1, most=MOST_CHOICES) or 1
    stream = body.boolean("stream")
    include_usage = _include_usage(body.take("stream_options"), stream)
    if not isinstance(body.take("user", ""), str):
        raise RefusedRequestError("'user' must be a string.", param="user")
    body.neutral(presence_penalty=0, frequency_penalty=0, logit_bias={}, logprobs=False, store=False)
    body.finish()
    asked = TextRequest(model, sampling, prompts, messages, n, stream, include_usage)
    if asked.choices > MOST_CHOICES:
        message = f"{len(prompts)} prompts times n={n} is more than the {MOST_CHOICES} texts of one request."
        raise RefusedRequestError(message, param="n")
    return asked


def _prompts(value: Any) -> tuple[str, ...]:
    if value is None:
        raise RefusedRequestError("you must provide a prompt parameter", param="prompt")
    prompts = [value] if isinstance(value, str) else value
    if not isinstance(prompts, list) or not prompts:
        raise RefusedRequestError("prompt must be a string or a list of strings.", param="prompt")
    if len(prompts) > MOST_CHOICES:
        message = f"prompt has {len(prompts)} texts; {MOST_CHOICES} is the most."
        raise RefusedRequestError(message, param="prompt")
    for prompt in prompts:
        if not isinstance(prompt, str):
            message = f"prompt must be text, not token numbers or anything else: {shortened(prompt)}."
            raise RefusedRequestError(message, param="prompt")
    return tuple(prompts)


def _messages(value: Any) -> tuple[Message, ...]:
    if value is None:
        raise RefusedRequestError("you must provide a messages parameter", param="messages")
    if not isinstance(value, list) or not value:
        raise RefusedRequestError("messages must be a list with at least one message.", param="messages")
    return tuple(_message(message, f"messages[{number}]") for number, message in enumerate(value))


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, dict):
        raise RefusedRequestError(f"{where} must be an object with role and content.", param=where)
    role = value.get("role")
    if not isinstance(role, str) or role not in ROLES:
        message = f"{where}.role must be one of {', '.join(ROLES)}, not {shortened(role)}."
        raise RefusedRequestError(message, param=f"{where}.role")
    for name, given in value.items():
        if name not in ("role", "content") and given is not None:
            where_given = f"{where}.{shortened(name)}"
            message = f"'{where_given}' is not supported by this server."
            raise RefusedRequestError(message, param=where_given, code="unsupported_parameter")
    return Message(ROLES[role], _content(value.get("content"), f"{where}.content"))


def _content(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise RefusedRequestError(f"{where} must be a string, or a list of parts of type text.", param=where)
    texts = []
    for number, part in enumerate(value):
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            message = f'{where}[{number}] must be {{"type": "text", "text": "..."}}: this model reads text only.'
            raise RefusedRequestError(message, param=f"{where}[{number}]")
        texts.append(part["text"])
    return "".join(texts)


def _stop(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > MOST_STOPS or not all(isinstance(s, str) and s for s in stops):
        message = f"stop must be a string or a list of up to {MOST_STOPS} strings, none of them empty."
        raise RefusedRequestError(message, param="stop")
    return tuple(stops)


def _include_usage(value: Any, stream: bool) -> bool:
    if value is None:
        return False
    if not stream:
        raise RefusedRequestError("stream_options needs stream: true.", param="stream_options")
    if not isinstance(value, dict):
        raise RefusedRequestError("stream_options must be an object.", param="stream_options")
    options = Body(value)
    try:
        include = options.boolean("include_usage")
        options.neutral(include_obfuscation=False)
        options.finish()
    except RefusedRequestError as refused:
        error = refused.body["error"]
        where = f"stream_options.{error['param']}"
        raise RefusedRequestError(error["message"], param=where, code=error["code"]) from None
    return include
