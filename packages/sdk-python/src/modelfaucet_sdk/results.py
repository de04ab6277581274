"""What comes back: of calls of models as dataclasses, of everything else as the gateway's JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from modelfaucet_sdk.errors import UnavailableError, without_secrets

_HIDDEN = frozenset({"key", "secret", "token", "session_token", "app_secret", "user_token"})


class Record(dict[str, Any]):
    """A JSON object of the gateway, as a dict. Printing it shows no token: read that by its name."""

    def __repr__(self) -> str:
        shown = {name: "•••" if name in _HIDDEN and value else value for name, value in self.items()}
        return without_secrets(repr(shown))

    __str__ = __repr__


@dataclass(frozen=True)
class Usage:
    """Tokens of one call. `input_tokens` are all of the prompt, `cached_tokens` those of them read from a cache."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True)
class Meta:
    """What the gateway says about a call beside the answer.

    `price_usd` is what it cost its payer; None where that is not known (yet). `replayed`: the answer of an earlier
    call with the same Idempotency-Key, which was not charged again.
    """

    request_id: str = ""
    price_usd: Decimal | None = None
    route_mode: str = ""
    served_model: str = ""
    estimated: bool = False
    degraded: bool = False
    replayed: bool = False


@dataclass(frozen=True)
class ToolCall:
    """A tool that the model wants called; `arguments` is JSON in a text, as the model wrote it."""

    id: str
    name: str
    arguments: str

    def parsed(self) -> Any:
        """Return the arguments as Python values. Raises ValueError where the model wrote no JSON."""
        return json.loads(self.arguments)


@dataclass(frozen=True)
class ChatResult:
    """The answer to a chat. `message` is OpenAI's, to append to the conversation; `str()` gives the text."""

    text: str
    message: dict[str, Any]
    model: str
    finish_reason: str
    usage: Usage
    meta: Meta
    tool_calls: tuple[ToolCall, ...] = ()
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def price_usd(self) -> Decimal | None:
        return self.meta.price_usd

    @property
    def request_id(self) -> str:
        return self.meta.request_id

    @property
    def route_mode(self) -> str:
        return self.meta.route_mode

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class FeatureResult:
    """What a feature answered. `output` is text, or the value of a feature of kind json.

    `problem` (`not_json`, `not_of_schema`) tells that `output` is the model's text instead.
    """

    output: Any
    problem: str | None
    refusal: str | None
    feature: str
    model: str
    finish_reason: str
    usage: Usage
    meta: Meta
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def text(self) -> str:
        return self.output if isinstance(self.output, str) else json.dumps(self.output, ensure_ascii=False)

    @property
    def price_usd(self) -> Decimal | None:
        return self.meta.price_usd

    @property
    def request_id(self) -> str:
        return self.meta.request_id

    @property
    def route_mode(self) -> str:
        return self.meta.route_mode

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class EmbeddingsResult:
    """One vector for each input, in order."""

    vectors: tuple[tuple[float, ...], ...] = field(repr=False)
    model: str
    usage: Usage
    meta: Meta

    @property
    def price_usd(self) -> Decimal | None:
        return self.meta.price_usd


@dataclass(frozen=True)
class TextPart:
    """A piece of the answer's text."""

    text: str
    type: Literal["text"] = "text"


@dataclass(frozen=True)
class ToolCallPart:
    """A tool call, once it is whole."""

    call: ToolCall
    type: Literal["tool_call"] = "tool_call"


@dataclass(frozen=True)
class UsagePart:
    """The tokens of the call."""

    usage: Usage
    type: Literal["usage"] = "usage"


StreamPart = TextPart | ToolCallPart | UsagePart


@dataclass(frozen=True)
class Session:
    """A session of one end user. `token` is for that user's device; printing the session does not show it."""

    id: str
    token: str = field(repr=False)
    expires_at: datetime
    end_user_id: str
    feature_key: str | None
    available_modes: tuple[str, ...]
    balance_usd: Decimal
    available_usd: Decimal
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    def is_fresh(self, now: datetime, margin: timedelta) -> bool:
        return now < self.expires_at - margin


def read_json(body: bytes) -> Any:
    """Return the JSON of an answer. Raises UnavailableError: something between here and the gateway answered."""
    try:
        return json.loads(body, object_hook=Record)
    except (ValueError, RecursionError):
        raise UnavailableError("The answer is not JSON: is base_url that of a gateway?", code="not_json") from None


def read_object(body: bytes) -> Record:
    """Return the JSON object of an answer. Raises UnavailableError."""
    content = read_json(body)
    if not isinstance(content, Record):
        raise UnavailableError("The answer is no JSON object: is base_url that of a gateway?", code="not_json")
    return content


def read_meta(headers: Mapping[str, str], note: Mapping[str, Any] | None = None) -> Meta:
    """Return what the headers of an answer, and the note at the end of a stream, tell."""
    told = note or {}
    price = told.get("price_usd", headers.get("x-modelfaucet-price-usd"))
    return Meta(
        request_id=str(told.get("request_id") or headers.get("x-request-id") or ""),
        price_usd=as_decimal(price),
        route_mode=headers.get("x-modelfaucet-route-mode", ""),
        served_model=headers.get("x-modelfaucet-served-model", ""),
        estimated=bool(told.get("estimated")) or headers.get("x-modelfaucet-estimated") == "true",
        degraded=headers.get("x-modelfaucet-degraded") == "true",
        replayed=headers.get("idempotent-replayed") == "true",
    )


def as_decimal(value: object) -> Decimal | None:
    """Return an amount of the gateway, or None."""
    try:
        return None if value is None else Decimal(str(value))
    except InvalidOperation:
        return None


def read_session(content: Mapping[str, Any], now: datetime) -> Session:
    """Return a session that was opened. Its end is reckoned from here, so that clocks may differ."""
    try:
        return Session(
            id=content["session_id"],
            token=content["session_token"],
            expires_at=now + timedelta(seconds=content["expires_in"]),
            end_user_id=content["end_user_id"],
            feature_key=content.get("feature_key"),
            available_modes=tuple(content["available_modes"]),
            balance_usd=Decimal(content["balance_usd"]),
            available_usd=Decimal(content["available_usd"]),
            raw=dict(Record(content)),
        )
    except (KeyError, TypeError, ValueError, InvalidOperation):
        raise UnavailableError("The answer is no session: is base_url that of a gateway?", code="not_json") from None


def utc_now() -> datetime:
    return datetime.now(timezone.utc)
