import re

from apps.gateway.formats.embeddings import EmbeddingsRequest
from apps.gateway.providers.anthropic.answer import read_message
from apps.gateway.providers.anthropic.request import render_messages
from apps.gateway.providers.anthropic.stream import MessageStream
from apps.gateway.providers.base import CHAT, Headers, StreamDecoder, unsupported
from apps.gateway.wire import ChatRequest

_VERSION = re.compile(r"/v\d+$")


class Anthropic:
    """base_url with or without its version: https://api.anthropic.com and https://api.anthropic.com/v1 are one."""

    name: str = "anthropic"
    operations: frozenset[str] = frozenset({CHAT})
    extra_headers: Headers = ((b"anthropic-version", b"2023-06-01"),)

    def chat_url(self, base_url: str, *, model: str, stream: bool) -> str:
        return f"{_versioned(base_url)}/messages"

    def chat_body(
        self, request: ChatRequest, *, model: str, output_cap: int, cap_name: str, keeps_cache_control: bool = False
    ) -> bytes:
        return render_messages(request, model=model, output_cap=output_cap)

    def read_chat(self, body: bytes, *, created: int) -> bytes:
        return read_message(body, created=created)

    def chat_stream(self, *, created: int) -> StreamDecoder | None:
        return MessageStream(created=created)

    def embeddings_url(self, base_url: str, *, model: str) -> str:
        raise unsupported("model", "it has no embeddings")

    def embeddings_body(self, request: EmbeddingsRequest, *, model: str) -> bytes:
        raise unsupported("model", "it has no embeddings")

    def read_embeddings(self, body: bytes, request: EmbeddingsRequest, *, model: str) -> bytes:
        raise unsupported("model", "it has no embeddings")

    def check_url(self, base_url: str) -> str | None:
        return f"{_versioned(base_url)}/models"


def _versioned(base_url: str) -> str:
    base = base_url.rstrip("/")
    return base if _VERSION.search(base) else f"{base}/v1"
