"""What is sent: a call as a value, and the bodies of the calls of models. Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

Mode = Literal["auto", "platform", "byok", "local"]
Messages = str | Sequence[Mapping[str, Any]]
MODES: tuple[Mode, ...] = ("auto", "platform", "byok", "local")
# What a mode asks of the route; the feature's own policy decides in `auto`.
_WISHES: dict[str, dict[str, str]] = {
    "auto": {},
    "platform": {"policy": "platform_pool"},
    "byok": {"prefer": "byok"},
    "local": {},  # goes to the bridge, which knows no routes
}
_WISHED = ("policy", "prefer", "max_price_usd", "min_quality", "require")


@dataclass(frozen=True)
class Call:
    """One logical call: however often it is tried, its body and its Idempotency-Key stay the same.

    `by` says whose token it takes. `repeatable`: a second arrival does nothing twice. `body` is not shown:
    it may hold a prompt or a key.
    """

    method: str
    path: str
    body: bytes | None = field(default=None, repr=False)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    by: Literal["user", "developer", "nobody"] = "user"
    repeatable: bool = True
    timeout: float | None = None


def call(
    method: str,
    *path: str,
    json: Mapping[str, Any] | None = None,
    query: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
    keyed: bool = False,
    **more: Any,
) -> Call:
    """Return a call of the address that the parts of `path` make up, each escaped.

    `keyed`: the address takes an Idempotency-Key; one is made where none is given. Members that are None are left out,
    but for those of `null`.
    """
    headers = {}
    if keyed or idempotency_key is not None:
        headers["idempotency-key"] = idempotency_key or new_key()
    given = {name: _query_text(value) for name, value in (query or {}).items() if value is not None}
    repeatable = more.pop("repeatable", method != "POST" or bool(headers))
    return Call(
        method,
        "/".join(quote(part, safe="") for part in path),
        body=None if json is None else encode(json),
        query=given,
        headers={**headers, **more.pop("headers", {})},
        repeatable=repeatable,
        **more,
    )


def new_key() -> str:
    """Return a new Idempotency-Key."""
    return uuid.uuid4().hex


def encode(content: Mapping[str, Any]) -> bytes:
    """Return JSON. Raises TypeError or ValueError for what JSON cannot say."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def given(**members: Any) -> dict[str, Any]:
    """Return the members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def messages_of(messages: Messages, system: str | None = None) -> list[dict[str, Any]]:
    """Return a conversation: a text is the user's only message, `system` comes before all others."""
    told = [{"role": "user", "content": messages}] if isinstance(messages, str) else [dict(each) for each in messages]
    return told if system is None else [{"role": "system", "content": system}, *told]


def chat_body(
    messages: Sequence[Mapping[str, Any]], *, mode: Mode, stream: bool, body: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the body of a chat completion; whatever `body` names beside the route goes to the provider as it is."""
    out = {"messages": list(messages), **given(**{k: v for k, v in body.items() if k not in _WISHED})}
    if stream:
        out["stream"] = True
        out["stream_options"] = {"include_usage": True, **(out.get("stream_options") or {})}
    return with_wish(out, mode=mode, wish={name: body[name] for name in _WISHED if body.get(name) is not None})


def with_wish(out: dict[str, Any], *, mode: Mode, wish: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body that says what is asked of the route; `wish` counts before `mode`."""
    if mode not in MODES:
        raise ValueError(f"mode takes {', '.join(MODES)}")
    asked = {} if mode == "local" else {**_WISHES[mode], **wish}
    if "max_price_usd" in asked:
        asked["max_price_usd"] = str(asked["max_price_usd"])
    return {**out, "modelfaucet": asked} if asked else out


def base_of(address: str) -> str:
    """Return the address of /v1 of an instance, given with or without it. Raises ValueError."""
    base = address.strip().rstrip("/")
    if not base.startswith(("https://", "http://")):
        raise ValueError("base_url begins with https:// (or http:// on this machine)")
    if "@" in base.split("/", 3)[2]:
        raise ValueError("base_url takes no user name or password")
    return base if base.endswith("/v1") else f"{base}/v1"


def _query_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
