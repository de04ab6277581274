"""What a provider's adapter is: pure translation between the canonical form and one provider's wire format.

The canonical form is OpenAI's chat completion (and embeddings): request members, JSON answer, SSE events. Usage in it
counts cached tokens inside `prompt_tokens` (`prompt_tokens_details.cached_tokens` and `.cache_write_tokens`) and
reasoning inside `completion_tokens` (`completion_tokens_details.reasoning_tokens`). Thinking is `reasoning_content`,
and for round trips `thinking_blocks`: Anthropic's thinking blocks with their signatures.

No adapter reads a clock, opens a socket or sees a key: headers that authenticate come from the vault.
"""

from typing import Protocol

from apps.core.errors import BadRequest
from apps.gateway.formats.embeddings import EmbeddingsRequest
from apps.gateway.wire import ChatRequest

CHAT = "chat"
EMBEDDINGS = "embeddings"

Headers = tuple[tuple[bytes, bytes], ...]


class StreamDecoder(Protocol):
    """Turn one provider's SSE stream into canonical events; one instance a stream."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes off the wire, split anywhere; return whole canonical events, or nothing yet.

        An error that the provider reports in mid-stream becomes `data: {"error": …}`. Raises metering.BrokenAnswer
        for what is not the provider's format, and for an event without end.
        """
        ...

    def flush(self) -> bytes:
        """Return what is left when the body has come to its clean end.

        `data: [DONE]` comes, here or from `feed`, only if the provider said that the answer is complete.
        """
        ...


class Adapter(Protocol):
    """One provider's wire format. Stateless; everything that is per stream lives in its StreamDecoder."""

    @property
    def name(self) -> str: ...

    @property
    def operations(self) -> frozenset[str]:
        """Return which of CHAT and EMBEDDINGS it can do."""
        ...

    @property
    def extra_headers(self) -> Headers:
        """Return headers that every request needs beside the vault's, a version for example."""
        ...

    def chat_url(self, base_url: str, *, model: str, stream: bool) -> str:
        """Return the URL of a chat call. `model` is the offer's upstream_model."""
        ...

    def chat_body(
        self, request: ChatRequest, *, model: str, output_cap: int, cap_name: str, keeps_cache_control: bool = False
    ) -> bytes:
        """Return the provider's request body, limited to `output_cap` tokens a choice.

        `cap_name`: the member in which an OpenAI-like provider takes a limit that the caller did not name;
        `keeps_cache_control`: such a provider takes Anthropic's cache_control on the parts of a message. Raises
        BadRequest: code unsupported_by_provider where this format cannot say what the caller asks for (another
        target may), another code where the request is malformed.
        """
        ...

    def read_chat(self, body: bytes, *, created: int) -> bytes:
        """Return a JSON answer as a canonical chat.completion. Raises metering.BrokenAnswer where it is none.

        `created`: UNIX seconds, for formats that do not say when an answer was made.
        """
        ...

    def chat_stream(self, *, created: int) -> StreamDecoder | None:
        """Return a decoder for one stream, or None where the bytes are canonical already: forward them unread."""
        ...

    def embeddings_url(self, base_url: str, *, model: str) -> str:
        """Return the URL of an embeddings call. Raises BadRequest (unsupported_by_provider) without that operation."""
        ...

    def embeddings_body(self, request: EmbeddingsRequest, *, model: str) -> bytes:
        """Return the provider's body; of `request` only the members are read (input, dimensions, …).

        Raises BadRequest (unsupported_by_provider) for what the format cannot say.
        """
        ...

    def read_embeddings(self, body: bytes, request: EmbeddingsRequest, *, model: str) -> bytes:
        """Return a canonical embeddings list in the encoding that `request` asks for; BrokenAnswer where it is none.

        `usage` is left out where the provider reports none.
        """
        ...

    def check_url(self, base_url: str) -> str | None:
        """Return a URL whose GET is free and proves host and key (200), or None where the provider has none."""
        ...


def unsupported(param: str, reason: str) -> BadRequest:
    """Return the refusal of what a provider's format cannot say; another target may be able to."""
    return BadRequest(
        f"'{param}' cannot be served by this provider: {reason}.", code="unsupported_by_provider", param=param
    )
