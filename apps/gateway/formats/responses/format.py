"""POST /v1/responses."""

from typing import Any

from apps.core.errors import FaucetError
from apps.gateway.formats.reading import translate
from apps.gateway.formats.responses.answer import write_response
from apps.gateway.formats.responses.request import read_request
from apps.gateway.formats.responses.stream import ResponsesEncoder
from apps.gateway.wire import ChatRequest
from apps.usage.rate import Tokens


class ResponsesFormat:
    """OpenAI's Responses."""

    endpoint = "responses"

    def parse(self, body: bytes) -> ChatRequest:
        """Return the canonical request. Raises BadRequest."""
        return translate(body, read_request)

    def answer(self, canonical: bytes, request: ChatRequest, *, request_id: str, usage: Tokens) -> bytes:
        return write_response(canonical, request.client, request_id=request_id, usage=usage)

    def encoder(self, request: ChatRequest, *, request_id: str) -> ResponsesEncoder:
        return ResponsesEncoder(request.client, request_id)

    def error(self, error: FaucetError, request_id: str | None) -> dict[str, Any]:
        return error.envelope(request_id)

    def error_event(self, error: FaucetError, request_id: str | None) -> bytes:
        client = {"echo": {}, "custom": frozenset(), "encrypted": False}
        return ResponsesEncoder(client, request_id or "").fail(error)


RESPONSES = ResponsesFormat()
