"""OpenAI's chat completions: the canonical format itself, so everything goes through as it came."""

from typing import Any

import msgspec

from apps.core.errors import FaucetError
from apps.gateway.formats.base import StreamEncoder
from apps.gateway.wire import ChatRequest, parse_chat
from apps.usage.rate import Tokens

_encode = msgspec.json.Encoder().encode


class ChatFormat:
    """POST /v1/chat/completions."""

    endpoint = "chat.completions"

    def parse(self, body: bytes) -> ChatRequest:
        return parse_chat(body)

    def answer(self, canonical: bytes, request: ChatRequest, *, request_id: str, usage: Tokens) -> bytes:
        return canonical

    def encoder(self, request: ChatRequest, *, request_id: str) -> StreamEncoder | None:
        return None

    def error(self, error: FaucetError, request_id: str | None) -> dict[str, Any]:
        return error.envelope(request_id)

    def error_event(self, error: FaucetError, request_id: str | None) -> bytes:
        return b"data: " + _encode(error.envelope(request_id)) + b"\n\n"


CHAT = ChatFormat()
