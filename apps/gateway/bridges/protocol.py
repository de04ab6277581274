"""The frames of `faucet.bridge.v1`: JSON text, one object each. Pure. docs/relay.md is the reference."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

SUBPROTOCOL = "faucet.bridge.v1"
PATH = "/v1/bridge"
MAX_FRAME_BYTES = 1_048_576
# A larger body of a request comes in parts, so that a slow line says soon that it has the call.
INLINE_BODY_BYTES = 65_536
PART_BYTES = 262_144
MAX_CHUNK_BYTES = 65_536
# Chunks that a bridge may have sent without having been given credit for them.
WINDOW = 32
MAX_CALLS = 32
MAX_MODELS = 200
PING_SECONDS = 5.0
# While a call is under way, a socket that says nothing for so long is lost; asked after PROBE_SECONDS. One that is
# still taking what it was sent is given longer.
LOST_SECONDS = 1.5
PROBE_SECONDS = 0.5
SLOW_LINE_SECONDS = 15.0
# In which a bridge says that it has a call, or the next target is tried; and says hello once it is connected.
ACCEPT_SECONDS = 1.5
HELLO_SECONDS = 10.0

PROTOCOL_ERROR = 1002
TOO_LARGE = 1009
GOING_AWAY = 1012
UNKNOWN_TOKEN = 4401
SUSPENDED = 4403
REPLACED = 4409

_Id = Annotated[str, Meta(min_length=1, max_length=100)]


class ModelSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model that a bridge offers. Without capabilities it is taken for one that chats, or embeds if its name says."""

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    context_window: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None
    capabilities: Annotated[list[Annotated[str, Meta(max_length=40)]], Meta(max_length=20)] = []


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    models: Annotated[list[ModelSpec], Meta(max_length=MAX_MODELS)]
    version: Annotated[str, Meta(max_length=40)] = ""
    max_concurrency: Annotated[int, Meta(ge=1, le=1000)] = 4


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    pass


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    pass


class Accepted(msgspec.Struct, frozen=True, tag="accepted"):
    call: _Id


class Head(msgspec.Struct, frozen=True, tag="head"):
    call: _Id
    status: Annotated[int, Meta(ge=200, le=599)]
    content_type: Annotated[str, Meta(max_length=200)] = "application/json"


class Chunk(msgspec.Struct, frozen=True, tag="chunk"):
    call: _Id
    data: bytes


class End(msgspec.Struct, frozen=True, tag="end"):
    call: _Id


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A call that the bridge gives up. Its words are not passed on: they might quote the prompt."""

    call: _Id
    code: Annotated[str, Meta(max_length=60)] = ""
    message: Annotated[str, Meta(max_length=2000)] = ""


Answering = Accepted | Head | Chunk | End | Failed
FromBridge = Hello | Ping | Pong | Answering

_read = msgspec.json.Decoder(FromBridge).decode
_encode = msgspec.json.Encoder().encode


class ProtocolProblem(Exception):
    """A bridge sent what the protocol does not allow; `code` is what its socket is closed with."""

    def __init__(self, reason: str, *, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(reason)
        self.code = code


def read_frame(text: str) -> FromBridge:
    """Return what a bridge sent. Raises ProtocolProblem."""
    if len(text) > MAX_FRAME_BYTES:
        raise ProtocolProblem("a frame is too large", code=TOO_LARGE)
    try:
        frame: FromBridge = _read(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtocolProblem("a frame cannot be read") from error
    if isinstance(frame, Chunk) and len(frame.data) > MAX_CHUNK_BYTES:
        raise ProtocolProblem("a chunk is too large", code=TOO_LARGE)
    return frame


class Opening(msgspec.Struct, frozen=True):
    """A call as it is sent to a bridge: `body` is the canonical request; left out where it comes in `parts`."""

    call: str
    model: str
    operation: str
    stream: bool
    window: int
    body: bytes = b""
    parts: int = 0


def frame(kind: str, **members: Any) -> str:
    """Return a frame for a bridge."""
    return _encode({"type": kind, **members}).decode()


def call_frame(opening: Opening) -> str:
    """Return the frame that begins a call; its body stands in it as it is."""
    members: dict[str, Any] = {
        "call": opening.call,
        "model": opening.model,
        "operation": opening.operation,
        "stream": opening.stream,
        "window": opening.window,
    }
    if opening.parts:
        return frame("call", **members, body_parts=opening.parts)
    return frame("call", **members, body=msgspec.Raw(opening.body))


def body_parts(body: bytes) -> list[bytes]:
    """Return the parts in which a body is sent; none where it fits into the frame of the call."""
    if len(body) <= INLINE_BODY_BYTES:
        return []
    return [body[start : start + PART_BYTES] for start in range(0, len(body), PART_BYTES)]
