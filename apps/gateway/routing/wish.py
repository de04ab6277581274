"""What a request wants of its route: read from the request itself, its `modelfaucet` member and its headers."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from apps.core.errors import BadRequest
from apps.core.money import MoneyProblem, nano_from_usd
from apps.features.manifest import CAPABILITIES
from apps.gateway.formats.base import ModelRequest
from apps.gateway.routing.orders import POLICIES
from apps.gateway.routing.target import Target
from apps.gateway.tokens import Prompt
from apps.usage.rate import BYOK, LOCAL

MEMBER = "modelfaucet"
AUTO = "auto"
NO_NEEDS: frozenset[str] = frozenset()
_HEADERS = {
    b"x-modelfaucet-policy": "policy",
    b"x-modelfaucet-max-price-usd": "max_price_usd",
    b"x-modelfaucet-min-quality": "min_quality",
    b"x-modelfaucet-prefer": "prefer",
    b"x-modelfaucet-require": "require",
}
_NULL, _EMPTY = msgspec.Raw(b"null"), msgspec.Raw(b"[]")
# A quotation mark inside a JSON string is escaped, so no text reads like this.
_IMAGE = re.compile(rb'"type"\s*:\s*"image_url"')
_AUDIO = re.compile(rb'"type"\s*:\s*"input_audio"')


def _no_class() -> str:
    return "question"


@dataclass(slots=True)
class Wish:
    """What is asked of a route.

    `needs` are the capabilities that the request implies, `require` those that it names. `max_price` is in nano-USD
    a call, `min_quality` from 0 to 1000. `local` are the targets of the caller's own bridge that can stand in for the
    model asked for; `local_only` forbids everything else, as a manifest may. `excluded` holds reasons by credential
    id: such credentials are not tried (a spent budget). `hour` is the hour of the day in UTC. `classify` is called
    once, and only where the class of the task matters. `counted`: the prompt was counted, so that asking for its
    tokens costs nothing.
    """

    model: str | None
    prompt: Prompt
    stream: bool = False
    operation: str = "chat"
    max_output: int | None = None
    choices: int = 1
    needs: frozenset[str] = NO_NEEDS
    require: frozenset[str] = NO_NEEDS
    policy: str | None = None
    max_price: int | None = None
    min_quality: int | None = None
    prefer: str | None = None
    local: tuple[Target, ...] = ()
    local_only: bool = False
    excluded: Mapping[str, str] = field(default_factory=dict)
    hour: int = 0
    counted: bool = False
    classify: Callable[[], str] = _no_class
    _task_class: str | None = None

    @property
    def is_plain(self) -> bool:
        """Tell whether it asks for nothing but a model, and what it needs follows from `needs` and its length."""
        return (
            self.policy is None
            and self.max_price is None
            and self.min_quality is None
            and self.prefer is None
            and not self.require
            and not self.local
            and not self.local_only
            and not self.excluded
            and not self.prompt.images
        )

    @property
    def task_class(self) -> str:
        """Return the class of the task."""
        if self._task_class is None:
            self._task_class = self.classify()
        return self._task_class


class _Member(msgspec.Struct, forbid_unknown_fields=True):
    policy: str | None = None
    max_price_usd: str | int | float | None = None
    min_quality: float | None = None
    prefer: Literal["local", "byok"] | None = None
    require: list[str] | None = None


_decode_member = msgspec.json.Decoder(_Member).decode


def read_wish(
    request: ModelRequest,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    classify: Callable[[], str],
    hour: int,
    operation: str = "chat",
) -> Wish:
    """Return what a request wants of its route; takes the `modelfaucet` member out, which no provider is to see.

    A header counts where the member does not name the same. Raises BadRequest naming what is wrong.
    """
    named = _named(request.members.pop(MEMBER, _NULL), headers)
    wish = Wish(
        model=request.model,
        prompt=request.prompt,
        stream=request.stream,
        operation=operation,
        max_output=request.max_output,
        choices=request.choices,
        needs=implied_needs(request, operation),
        hour=hour,
        classify=classify,
    )
    if named is not None:
        _take(wish, named)
    return wish


def implied_needs(request: ModelRequest, operation: str = "chat") -> frozenset[str]:
    """Return the capabilities without which a request cannot be served."""
    members = request.members
    needs = [operation if operation == "embeddings" else "chat"]
    if request.stream:
        needs.append("stream")
    for name in ("tools", "functions"):
        if members.get(name, _NULL) not in (_NULL, _EMPTY):
            needs.append("tools")
    shape = members.get("response_format", _NULL)
    if shape != _NULL and b"json" in bytes(shape):
        needs.append("json")
    messages = bytes(members.get("messages", b""))
    if b"image_url" in messages and _IMAGE.search(messages):
        needs.append("vision")
    if b"input_audio" in messages and _AUDIO.search(messages):
        needs.append("audio")
    return frozenset(needs)


def _named(raw: msgspec.Raw, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, Any] | None:
    named: dict[str, Any] = {}
    for name, value in headers:
        if name in _HEADERS:
            named[_HEADERS[name]] = value.decode("latin-1").strip()
    if "min_quality" in named:
        try:
            named["min_quality"] = float(named["min_quality"])
        except ValueError:
            raise _wrong("min_quality", "a number from 0 to 1") from None
    if "require" in named:
        named["require"] = [part.strip() for part in named["require"].split(",") if part.strip()]
    if raw != _NULL:
        try:
            member = _decode_member(raw)
        except (msgspec.DecodeError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise BadRequest(f"'{MEMBER}' cannot be read: {reason}", code="invalid_type", param=MEMBER) from error
        named |= {name: value for name, value in msgspec.structs.asdict(member).items() if value is not None}
    return named or None


def _take(wish: Wish, named: Mapping[str, Any]) -> None:
    policy, prefer = named.get("policy"), named.get("prefer")
    if policy is not None and policy not in POLICIES:
        raise _wrong("policy", f"one of {', '.join(POLICIES)}")
    if prefer not in (None, LOCAL, BYOK):
        raise _wrong("prefer", "local or byok")
    quality = named.get("min_quality")
    if quality is not None and not 0 <= quality <= 1:
        raise _wrong("min_quality", "a number from 0 to 1")
    unknown = set(named.get("require", ())) - set(CAPABILITIES)
    if unknown:
        raise _wrong("require", f"capabilities: {', '.join(CAPABILITIES)}")
    wish.policy, wish.prefer = policy, prefer
    wish.min_quality = None if quality is None else round(quality * 1000)
    wish.require = frozenset(named.get("require", ()))
    if "max_price_usd" in named:
        try:
            # A number is taken as it was written: no float takes part in the arithmetic.
            wish.max_price = nano_from_usd(str(named["max_price_usd"]))
        except MoneyProblem as error:
            raise _wrong("max_price_usd", "an amount in USD, best as a decimal string") from error
        if wish.max_price < 0:
            raise _wrong("max_price_usd", "an amount in USD, not negative")


def _wrong(name: str, takes: str) -> BadRequest:
    return BadRequest(f"'{MEMBER}.{name}' takes {takes}.", code="invalid_type", param=f"{MEMBER}.{name}")
