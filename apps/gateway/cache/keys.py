"""What makes two requests equal: hashes of everything that an answer depends on. Pure."""

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from apps.core.hashing import keyed_hash
from apps.features.queries import Principal
from apps.gateway.formats.base import ModelRequest
from apps.gateway.routing import Decision
from apps.gateway.wire import ChatRequest

# Members that say who asks, what to keep or how to deliver. `model` is in the key by what the plan made of it.
_NO_INFLUENCE = frozenset(
    ("model", "user", "safety_identifier", "prompt_cache_key", "metadata", "store", "stream", "stream_options")
)
# A longer request, in bytes, is not likely to come again, and takes long to hash.
MAX_REQUEST = 500_000
# Characters of a last message that are compared for similarity; a longer one has too much in it to be like another.
MAX_COMPARED = 8_000
_NUMBER = re.compile(r"\d+")
_NOTHING = (msgspec.Raw(b"null"), msgspec.Raw(b"[]"))

_encode = msgspec.json.Encoder(order="sorted").encode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
Members = dict[str, msgspec.Raw]


@dataclass(frozen=True, slots=True)
class Likeness:
    """By what a request may be found similar: the text of its last message, and a hash of everything else."""

    context: str
    text: str


def is_small(request: ModelRequest) -> bool:
    """Tell whether a request is short enough to be compared."""
    return sum(memoryview(raw).nbytes for raw in request.members.values()) <= MAX_REQUEST


def answer_key(request: ModelRequest, principal: Principal, decision: Decision) -> str | None:
    """Return the hash of a request, its feature and its manifest; None where it cannot be told what it is.

    Members are compared as they were written, but for white space: what two readers of JSON may understand in two
    ways, such as a name that is given twice, makes two keys.
    """
    try:
        members = {name: _compact(raw) for name, raw in request.members.items() if name not in _NO_INFLUENCE}
        return _hash("answer", request, principal, decision, members)
    except (msgspec.MsgspecError, RecursionError):
        return None


def likeness(request: ModelRequest, principal: Principal, decision: Decision, *, model: str) -> Likeness | None:
    """Return by what a request may be found similar under an embedding `model`.

    None for whatever is more than a text after a conversation: tools, images, several choices, a long last message.
    """
    if not isinstance(request, ChatRequest) or request.choices != 1 or request.prompt.images:
        return None
    if any(request.members.get(name, _NOTHING[0]) not in _NOTHING for name in ("tools", "functions")):
        return None
    try:
        *before, last = _decode_array(request.members["messages"])
        text = _text_of(last)
        if text is None or not text.strip() or len(text) > MAX_COMPARED:
            return None
        members = {name: _compact(raw) for name, raw in request.members.items() if name not in _NO_INFLUENCE}
        members["messages"] = _compact(msgspec.Raw(_encode(before)))
        members["embedded by"] = msgspec.Raw(_encode(model))
        # "Order 17" is as near to "order 18" as two texts can be, and is another order.
        members["numbers"] = msgspec.Raw(_encode(_NUMBER.findall(text)))
        return Likeness(_hash("context", request, principal, decision, members), text)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None


def _hash(purpose: str, request: ModelRequest, principal: Principal, decision: Decision, members: Members) -> str:
    about = {
        "app": principal.app_id,
        "feature": principal.feature_key,
        "manifest": principal.manifest_id,
        "most": principal.max_output_tokens,
        "operation": request.operation,
        # What another client format was translated to may reach a provider without some of its members.
        "translated": isinstance(request, ChatRequest) and bool(request.client),
        "most asked": request.max_output,
        "requested": decision.requested,
        "model": decision.model,
        "policy": decision.policy,
        "rule": decision.rule,
        "members": members,
    }
    return keyed_hash(f"cached {purpose}", _encode(about).decode())


def _compact(raw: msgspec.Raw) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.format(raw, indent=-1))


def _text_of(raw: msgspec.Raw) -> str | None:
    """Return the text of a user's message that is nothing but text. Raises ValueError for a name given twice."""
    message = json.loads(bytes(raw), object_pairs_hook=_once)
    if not isinstance(message, dict) or message.keys() != {"role", "content"} or message["role"] != "user":
        return None
    content = message["content"]
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(
        isinstance(part, dict) and part.keys() == {"type", "text"} and isinstance(part["text"], str) for part in content
    ):
        return None
    return "\n".join(part["text"] for part in content)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is given twice")
    return members
