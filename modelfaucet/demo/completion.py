"""One chat completion of the demo provider: the request checked, the answer made and counted. Pure."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import uuid4

from rs_bpe.bpe import openai as bpe

from modelfaucet.demo.answers import answer, last_asked, text_of
from modelfaucet.demo.tools import choose_tool, example

MODELS = ("faucet-demo", "faucet-demo-large")
MOST_CHOICES = 8
# The frame that OpenAI's chat format puts around each message, around a name, and before the answer, in tokens.
PER_MESSAGE, PER_NAME, BEFORE_ANSWER = 3, 1, 3
# A word and the space after it; two signs where there are no spaces between words.
_PIECE = re.compile(r"\s*(?:[\u3000-\u9fff\uff00-\uffef]{1,2}|[^\s\u3000-\u9fff\uff00-\uffef]+)\s*")


class Refused(Exception):
    """A request that is answered with an error, as OpenAI words it."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
        self.body: dict[str, Any] = {"error": error}


@cache
def _tokenizer() -> Any:
    return bpe.o200k_base()


def count(text: str) -> int:
    """Return the tokens of `text` in o200k_base."""
    return int(_tokenizer().count(text)) if text else 0


def shorten(text: str, most: int) -> tuple[str, int]:
    """Return as much of `text` as `most` tokens hold, and how many tokens that is.

    A cut within a character drops that character's tokens.
    """
    tokens = _tokenizer().encode(text)
    if len(tokens) <= most:
        return text, len(tokens)
    for kept in range(most, 0, -1):
        short = _tokenizer().decode(tokens[:kept])
        if short is not None:
            return short, kept
    return "", 0


@dataclass(frozen=True)
class Completion:
    """The answer to one request, the same for each of its `choices`."""

    id: str
    model: str
    created: int
    choices: int
    text: str
    tool_call: dict[str, Any] | None
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    stream: bool
    include_usage: bool

    @property
    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def whole(self) -> dict[str, Any]:
        """Return the answer as one JSON object."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text, "refusal": None}
        if self.tool_call:
            message |= {"content": None, "tool_calls": [self.tool_call]}
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
            for index in range(self.choices)
        ]
        return self._envelope("chat.completion") | {"choices": choices, "usage": self.usage}

    def events(self) -> Iterator[list[dict[str, Any]]]:
        """Yield the answer as a stream: at each step the objects that are sent together."""
        envelope = self._envelope("chat.completion.chunk")
        if self.include_usage:
            envelope["usage"] = None

        def step(delta: dict[str, Any], finish: str | None = None) -> list[dict[str, Any]]:
            rest = {"delta": delta, "logprobs": None, "finish_reason": finish}
            return [envelope | {"choices": [{"index": index} | rest]} for index in range(self.choices)]

        yield step({"role": "assistant", "content": None if self.tool_call else ""})
        if self.tool_call:
            function = self.tool_call["function"]
            yield step({"tool_calls": [{"index": 0} | self.tool_call | {"function": function | {"arguments": ""}}]})
            for piece in re.findall(r"(?s).{1,12}", function["arguments"]):
                yield step({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        for piece in pieces(self.text):
            yield step({"content": piece})
        yield step({}, self.finish_reason)
        if self.include_usage:
            yield [envelope | {"choices": [], "usage": self.usage}]


def pieces(text: str) -> list[str]:
    """Return `text` in the pieces in which it is streamed: words, or two signs of Chinese. They join up to it."""
    found = _PIECE.findall(text)
    return found if "".join(found) == text else [text]


def complete(body: Any, *, created: int) -> Completion:
    """Return the answer to a request body of OpenAI's chat completions. Raises Refused."""
    if not isinstance(body, dict):
        raise Refused(400, "The request body must be a JSON object.")
    model = body.get("model")
    if model not in MODELS:
        raise Refused(404, f"The model `{model}` does not exist.", param="model", code="model_not_found")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
        raise Refused(400, "'messages' must be a list of at least one message.", param="messages")
    try:
        return _complete(body, model, messages, created)
    except (TypeError, AttributeError, LookupError, ValueError) as error:
        # Schemas, options and messages come from strangers; a value of the wrong type in them is their mistake.
        raise Refused(400, "A value in the request has the wrong type.") from error


def _complete(body: dict[str, Any], model: str, messages: list[dict[str, Any]], created: int) -> Completion:
    choices = _whole_number(body, "n", most=MOST_CHOICES) or 1
    most = _whole_number(body, "max_completion_tokens") or _whole_number(body, "max_tokens")
    tools = body.get("tools") or []
    call = _tool_call(body, messages, tools)
    if call:
        text, finish, used = "", "tool_calls", sum(map(count, call["function"].values()))
    else:
        text = _before_stop(_said(body, messages), body.get("stop"))
        finish, used = "stop", count(text)
        if most is not None and used > most:
            text, used = shorten(text, most)
            finish = "length"
    return Completion(
        id=f"chatcmpl-{uuid4().hex}",
        model=model,
        created=created,
        choices=choices,
        text=text,
        tool_call=call,
        finish_reason=finish,
        prompt_tokens=prompt_tokens(messages, tools),
        completion_tokens=used * choices,
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
    )


def _tool_call(
    body: dict[str, Any], messages: list[dict[str, Any]], tools: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Return the call that answers the conversation; None where words do, as they do after a tool's result."""
    if messages[-1].get("role") == "tool":
        return None
    asked = last_asked(messages)
    function = choose_tool(tools, body.get("tool_choice"), asked)
    if function is None:
        return None
    arguments = json.dumps(example(function.get("parameters") or {"type": "object"}, asked), ensure_ascii=False)
    called = {"name": function["name"], "arguments": arguments}
    return {"id": f"call_{uuid4().hex[:24]}", "type": "function", "function": called}


def prompt_tokens(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> int:
    """Return the tokens of a prompt: every message with its frame, earlier tool calls, and the tools as JSON."""
    total = BEFORE_ANSWER
    for message in messages:
        total += PER_MESSAGE + count(str(message.get("role", ""))) + count(text_of(message.get("content")))
        if message.get("name"):
            total += PER_NAME + count(str(message["name"]))
        if message.get("tool_calls"):
            total += count(json.dumps(message["tool_calls"], ensure_ascii=False))
    return total + (count(json.dumps(tools, ensure_ascii=False)) if tools else 0)


def _whole_number(body: dict[str, Any], name: str, *, most: int | None = None) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1 or (most is not None and value > most):
        limit = f" up to {most}" if most is not None else ""
        raise Refused(400, f"'{name}' must be a whole number from 1{limit}.", param=name)
    return value


def _said(body: dict[str, Any], messages: list[dict[str, Any]]) -> str:
    """Return the answer in the form that `response_format` asks for."""
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        schema = (wanted.get("json_schema") or {}).get("schema") or {"type": "object"}
        return json.dumps(example(schema, last_asked(messages)), ensure_ascii=False)
    text = answer(messages, detailed=body["model"].endswith("-large"))
    return json.dumps({"answer": text}, ensure_ascii=False) if wanted.get("type") == "json_object" else text


def _before_stop(text: str, stop: Any) -> str:
    for sequence in [stop] if isinstance(stop, str) else stop or []:
        if isinstance(sequence, str) and sequence:
            text = text.partition(sequence)[0]
    return text
