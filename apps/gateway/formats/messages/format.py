"""POST /v1/messages and /v1/messages/count_tokens."""

from functools import partial
from typing import Any

import msgspec

from apps.core.errors import FaucetError
from apps.gateway.formats.messages.answer import write_message
from apps.gateway.formats.messages.errors import envelope
from apps.gateway.formats.messages.request import read_request
from apps.gateway.formats.messages.stream import MessagesEncoder
from apps.gateway.formats.reading import translate
from apps.gateway.wire import ChatRequest
from apps.usage.rate import Tokens

_encode = msgspec.json.Encoder().encode


class MessagesFormat:
    """Anthropic's Messages."""

    endpoint = "messages"

    def parse(self, body: bytes) -> ChatRequest:
        """Return the canonical request. Raises BadRequest."""
        return translate(body, read_request)

    def parse_count(self, body: bytes) -> ChatRequest:
        """Return the request whose prompt is to be counted: the same, without max_tokens. Raises BadRequest."""
        return translate(body, partial(read_request, count_only=True))

    def count_answer(self, tokens: int) -> dict[str, Any]:
        """Return the JSON body that tells how long a prompt is."""
        return {"input_tokens": tokens}

    def answer(self, canonical: bytes, request: ChatRequest, *, request_id: str, usage: Tokens) -> bytes:
        return write_message(canonical, request.client, request_id=request_id, usage=usage)

    def encoder(self, request: ChatRequest, *, request_id: str) -> MessagesEncoder:
        return MessagesEncoder(request.client, request_id)

    def error(self, error: FaucetError, request_id: str | None) -> dict[str, Any]:
        return envelope(error, request_id)

    def error_event(self, error: FaucetError, request_id: str | None) -> bytes:
        return b"event: error\ndata: " + _encode(envelope(error, request_id)) + b"\n\n"


MESSAGES = MessagesFormat()
