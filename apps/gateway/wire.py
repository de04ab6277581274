"""OpenAI's chat completion request: what the gateway acts on is checked, the rest passes through as it came.

Pure. A body is parsed once, into raw members; only those that are acted on are decoded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import msgspec

from apps.core.errors import BadRequest
from apps.gateway.tokens import Prompt

T = TypeVar("T")

MAX_MODEL_NAME = 200
MAX_CHOICES = 128
MAX_ROLE = 64
MAX_TOKENS = 100_000_000
# Tokens by which a chat format wraps a message (role, separators) and an answer's start: an upper bound.
TOKENS_PER_MESSAGE = 8
TOKENS_PER_REQUEST = 8

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
# Searches and other tools of the provider's own: xAI's, OpenRouter's.
_BILLED_PER_CALL = ("search_parameters", "plugins")
# A permission to search that says how, not an order to: the answer is made without, and the caller is told so.
_PERMISSIONS = ("web_search_options",)
# Ways of OpenRouter and LiteLLM to be answered by another model or provider than the one that is priced.
_ELSEWHERE = ("models", "provider", "route", "fallbacks", "api_base", "base_url", "api_key")
_REFERENCES = ("video_url", "audio_url")
_CAP_NAMES = ("max_completion_tokens", "max_tokens")
# What is acted on. A provider that matches names in any case would read another spelling past us.
_ACTED_ON = frozenset({"model", "messages", "stream", "stream_options", "n", "service_tier", "modalities"}).union(
    _CAP_NAMES, _BILLED_PER_CALL, _PERMISSIONS, _ELSEWHERE
)
# Members that say how to answer and are no part of a prompt. Any other that is not acted on may be one.
_SETTINGS = _ACTED_ON | {"logit_bias", "metadata", "modelfaucet", "stop"}
_PROMPTED = ("tools", "functions", "response_format")
# A short member is covered by what is reckoned for the request's frame.
_SHORT = 64


@dataclass(slots=True)
class ChatRequest:
    """A parsed chat completion request.

    `max_output` is the caller's own limit in tokens for one choice, None where it named none; `choices` is
    OpenAI's `n`. `wants_usage`: the caller asked for the usage chunk of a stream. `ignored` names the parameters that
    are accepted and have no effect here, which the caller is told. `client` is set on what was translated from another
    client format: what that format has to remember in order to answer; nobody else reads it.
    """

    members: dict[str, msgspec.Raw]
    model: str | None
    stream: bool
    wants_usage: bool
    max_output: int | None
    choices: int
    prompt: Prompt = field(repr=False)
    ignored: tuple[str, ...] = ()
    client: Mapping[str, Any] = field(default_factory=dict, repr=False)
    operation: ClassVar[str] = "chat"

    @property
    def own_stop(self) -> bool:
        """Tell whether the caller named stop sequences."""
        raw = self.members.get("stop")
        if raw is None:
            return False
        try:
            stop = msgspec.json.decode(raw, type=str | list[str] | None)
        except (msgspec.DecodeError, RecursionError):
            return True
        return any(stop) if isinstance(stop, list) else bool(stop)

    def render(self, *, model: str, output_cap: int, cap_name: str, keeps_cache_control: bool = False) -> bytes:
        """Return the body for a provider: its model name, our output cap, and usage asked for on streams.

        `keeps_cache_control`: the provider takes cache_control on content parts, so that of a translated request stays.
        """
        members: dict[str, Any] = dict(self.members)
        if self.client:
            members = _without_extensions(self.members, keeps_cache_control)
        members["model"] = model
        named = [name for name in _CAP_NAMES if name in members and members[name] != _NULL]
        for name in named or [cap_name]:
            members[name] = output_cap
        if self.stream:
            options = msgspec.json.decode(members["stream_options"]) if "stream_options" in members else None
            members["stream_options"] = {**(options or {}), "include_usage": True}
        return _encode(members)


_NULL = msgspec.Raw(b"null")
# What a translated request carries for providers that speak as its client does; OpenAI refuses what it does not know.
_EXTENSIONS = frozenset({"thinking", "thinking_blocks", "top_k", "cache_control", "extra_content"})


def _without_extensions(members: Mapping[str, msgspec.Raw], keeps_cache_control: bool) -> dict[str, Any]:
    plain: dict[str, Any] = {name: raw for name, raw in members.items() if name not in _EXTENSIONS}
    for name in ("messages", "tools"):
        raw = bytes(plain.get(name, b""))
        if any(mark in raw for mark in (b'"cache_control"', b'"thinking_blocks"', b'"extra_content"')):
            plain[name] = [_plain(each, keeps_cache_control) for each in msgspec.json.decode(raw)]
    return plain


def _plain(message: dict[str, Any], keeps_cache_control: bool) -> dict[str, Any]:
    """Return a message or tool without extensions: on itself, its calls and, unless they may stay, its parts."""
    plain = {name: value for name, value in message.items() if name not in _EXTENSIONS}
    for name in ("tool_calls",) if keeps_cache_control else ("tool_calls", "content"):
        if isinstance(inner := plain.get(name), list):
            plain[name] = [{k: v for k, v in each.items() if k not in _EXTENSIONS} for each in inner]
    return plain


def parse_chat(body: bytes) -> ChatRequest:
    """Parse a chat completion request. Raises BadRequest naming the member that is wrong."""
    members = parse_object(body)
    for name in members:
        if name not in _ACTED_ON and name.casefold() in _ACTED_ON:
            raise BadRequest(f"'{name}' is spelt '{name.casefold()}'.", code="unknown_parameter", param=name)
    model = read_member(members, "model", str, "a string")
    if model is not None and not 0 < len(model) <= MAX_MODEL_NAME:
        raise wrong("model", f"a name of at most {MAX_MODEL_NAME} characters")
    stream = read_member(members, "stream", bool, "true or false") or False
    options = read_member(members, "stream_options", dict[str, Any], "an object")
    ignored = [name for name in _PERMISSIONS if members.pop(name, _NULL) != _NULL]
    if options and not stream:
        del members["stream_options"]  # how to stream what is not streamed
        ignored.append("stream_options")
    # No provider makes less than one token, so a limit of none is a limit of one.
    caps = [
        value or 1
        for name in _CAP_NAMES
        if (value := read_whole_number(members, name, least=0, most=MAX_TOKENS)) is not None
    ]
    choices = read_whole_number(members, "n", least=1, most=MAX_CHOICES) or 1
    refuse_unpriced(members)
    # Escapes of ASCII letters may spell it too; nobody who means well writes them.
    if b'"cache_control"' in body or b"\\u00" in body:
        _refuse_long_cache(members)
    return ChatRequest(
        members=members,
        model=model,
        stream=stream,
        wants_usage=bool(options and options.get("include_usage")),
        max_output=min(caps) if caps else None,
        choices=choices,
        prompt=_read_prompt(members),
        ignored=tuple(ignored),
    )


def parse_object(body: bytes) -> dict[str, msgspec.Raw]:
    """Return the members of a JSON object, undecoded. Raises BadRequest where the body is none."""
    if not body:
        raise BadRequest("The request body is empty; it takes a JSON object.", code="invalid_json")
    try:
        if not body.isascii():
            body.decode()  # raw members would carry broken UTF-8 on to the provider
        return _members.decode(body)
    except UnicodeDecodeError as error:
        raise BadRequest("The request body is not valid UTF-8.", code="invalid_json") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"The request body is not a JSON object: {_reason(error)}", code="invalid_json") from error


def read_member(members: dict[str, msgspec.Raw], name: str, kind: type[T], takes: str) -> T | None:
    raw = members.get(name)
    if raw is None or raw == _NULL:
        return None
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise wrong(name, takes) from error


def read_whole_number(members: dict[str, msgspec.Raw], name: str, *, least: int, most: int) -> int | None:
    value = read_member(members, name, int, "a whole number")
    if value is not None and not least <= value <= most:
        raise wrong(name, f"a whole number from {least} to {most}")
    return value


def wrong(name: str, takes: str) -> BadRequest:
    return BadRequest(f"'{name}' takes {takes}.", code="invalid_type", param=name)


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def refuse_unpriced(members: dict[str, msgspec.Raw]) -> None:
    """Refuse what providers bill apart from text tokens: the catalogue has no price for it."""
    tier = read_member(members, "service_tier", str, "a string")
    if tier not in (None, "auto", "default"):
        raise unpriced("service_tier", f"service_tier '{tier}' has its own prices")
    for name in _BILLED_PER_CALL:
        if members.get(name, _NULL) != _NULL:
            raise unpriced(name, "what it asks for is billed per call")
    for name in _ELSEWHERE:
        if members.get(name, _NULL) != _NULL:
            raise unpriced(name, "the model's price is that of its own route")
    modalities = read_member(members, "modalities", list[str], "an array of strings")
    if modalities and set(modalities) != {"text"}:
        raise unpriced("modalities", "only text answers are priced")


def _refuse_long_cache(members: dict[str, msgspec.Raw]) -> None:
    """Refuse a cache that outlives the usual five minutes: providers bill its writes at a price of its own."""
    for name, raw in members.items():
        try:
            found: list[Any] = [msgspec.json.decode(raw)]
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadRequest(f"'{name}' cannot be read: {_reason(error)}", code="invalid_json", param=name) from error
        if name == "cache_control":
            found = [{name: found[0]}]
        while found:
            value = found.pop()
            if isinstance(value, dict):
                control = value.get("cache_control")
                if isinstance(control, dict) and control.get("ttl") not in (None, "5m"):
                    raise unpriced(name, "only a cache_control ttl of 5m is priced")
                found += value.values()
            elif isinstance(value, list):
                found += value


def unpriced(param: str, reason: str) -> BadRequest:
    return BadRequest(f"'{param}' is not supported here: {reason}.", code="unpriced_parameter", param=param)


def _read_prompt(members: dict[str, msgspec.Raw]) -> Prompt:
    raw = members.get("messages")
    if raw is None:
        raise BadRequest("'messages' is required.", code="missing_parameter", param="messages")
    try:
        messages = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"'messages' cannot be read: {_reason(error)}", param="messages") from error
    if not isinstance(messages, list) or not messages:
        raise wrong("messages", "an array with at least one message")
    texts: list[str] = []
    images = 0
    other = TOKENS_PER_REQUEST
    for position, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise wrong(f"messages[{position}]", "an object with a role")
        other += TOKENS_PER_MESSAGE
        if len(message["role"]) > MAX_ROLE:
            raise wrong(f"messages[{position}].role", f"at most {MAX_ROLE} characters")
        more, pictures = _read_content(message.get("content"), f"messages[{position}].content", texts)
        other += more
        images += pictures
        if message.get("audio") is not None:
            raise unpriced(f"messages[{position}].audio", "audio has its own prices")
        for key, value in message.items():
            if key not in ("role", "content"):
                texts.append(value if isinstance(value, str) else _encode(value).decode())
    for name, extra in members.items():
        if name not in _SETTINGS and extra != _NULL and (name in _PROMPTED or len(bytes(extra)) > _SHORT):
            texts.append(bytes(extra).decode())
    return Prompt("\n".join(texts) if len(texts) > 1 else texts[0] if texts else "", other, images)


def _read_content(content: object, where: str, texts: list[str]) -> tuple[int, int]:
    """Collect the text of a message's content; return the tokens of what is neither text nor image, and the images."""
    if content is None:
        return 0, 0
    if isinstance(content, str):
        texts.append(content)
        return 0, 0
    if not isinstance(content, list):
        raise wrong(where, "a string or an array of content parts")
    other = images = 0
    for position, part in enumerate(content):
        if not isinstance(part, dict):
            raise wrong(f"{where}[{position}]", "an object")
        kind = part.get("type")
        if kind == "image_url":
            images += 1
        elif kind == "input_audio":
            raise unpriced(f"{where}[{position}]", "audio has its own prices")
        elif kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in _REFERENCES or (kind == "file" and not _holds_data(part.get("file"))):
            raise unpriced(f"{where}[{position}]", "how long something is that is only referenced is not known")
        else:
            # A file or an unknown part: whatever it holds, it is not more tokens than bytes.
            other += len(_encode(part))
    return other, images


def _holds_data(file: object) -> bool:
    return isinstance(file, dict) and isinstance(file.get("file_data"), str) and file.get("file_id") is None
