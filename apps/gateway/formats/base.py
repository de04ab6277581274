"""What a client format is: a way to ask and to be answered, translated to and from the canonical chat completion.

Pure. The canonical request is `wire.ChatRequest`; the canonical answer is OpenAI's chat completion as JSON or as SSE
events. A format is made once and keeps no state; what it has to remember of one request travels on
`ChatRequest.client`, so the object that `parse` returned (or a copy by `dataclasses.replace`) is what it is given.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from apps.core.errors import FaucetError
from apps.gateway.formats.embeddings import EmbeddingsRequest
from apps.gateway.wire import ChatRequest
from apps.usage.rate import Tokens

ModelRequest = ChatRequest | EmbeddingsRequest


class StreamEncoder(Protocol):
    """One answer on its way to the client, from canonical events to the client's own."""

    def feed(self, events: bytes) -> bytes:
        """Translate whole canonical SSE events, any number at once; returns b"" where there is nothing to say yet.

        The end marker is not among them. Raises metering.BrokenAnswer where an event is no chunk.
        """

    def finish(self, note: Mapping[str, object], *, usage: Tokens) -> bytes:
        """Return what ends the answer: only once the call is settled, with the usage and price that were settled."""

    def fail(self, error: FaucetError) -> bytes:
        """Return what ends an answer that broke off; it may be the first thing that the client gets."""


class Format(Protocol):
    """How one endpoint refuses; `endpoint` is its name on usage events."""

    endpoint: str

    def error(self, error: FaucetError, request_id: str | None) -> dict[str, Any]:
        """Return the JSON body of a refusal."""


class ClientFormat(Format, Protocol):
    """How one endpoint is spoken that answers with a chat completion, in words of its own."""

    def parse(self, body: bytes) -> ChatRequest:
        """Return the canonical request. Raises BadRequest naming the client's own parameter.

        Formats other than chat completions set `wants_usage`: their encoder takes the usage chunk out.
        """

    def answer(self, canonical: bytes, request: ChatRequest, *, request_id: str, usage: Tokens) -> bytes:
        """Return a whole answer in the client's format; `usage` is what is settled.

        Raises metering.BrokenAnswer where `canonical` is no chat completion.
        """

    def encoder(self, request: ChatRequest, *, request_id: str) -> StreamEncoder | None:
        """Return the encoder of one stream; None where the canonical events are what the client speaks."""

    def error_event(self, error: FaucetError, request_id: str | None) -> bytes:
        """Return the last event of a stream that broke off and has no encoder, or of which nothing was sent yet."""
