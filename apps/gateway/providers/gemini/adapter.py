import re
from urllib.parse import quote

from apps.gateway.formats.embeddings import EmbeddingsRequest
from apps.gateway.providers.base import CHAT, EMBEDDINGS, Headers, StreamDecoder
from apps.gateway.providers.gemini.answer import read_content
from apps.gateway.providers.gemini.embeddings import read_vectors, render_texts
from apps.gateway.providers.gemini.request import render_content
from apps.gateway.providers.gemini.stream import ContentStream
from apps.gateway.wire import ChatRequest

_VERSION = re.compile(r"/v\d+(?:(?:alpha|beta)\d*)?(?:/.*)?/publishers/[^/]+$|/v\d+(?:(?:alpha|beta)\d*)?$")


class Gemini:
    """base_url with or without its version: without one it is v1beta, where everything below exists.

    Vertex AI is reached with a base_url that ends with /publishers/google.
    """

    name: str = "gemini"
    operations: frozenset[str] = frozenset({CHAT, EMBEDDINGS})
    extra_headers: Headers = ()

    def chat_url(self, base_url: str, *, model: str, stream: bool) -> str:
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"{_versioned(base_url)}/{quote(full_name(model))}:{verb}"

    def chat_body(
        self, request: ChatRequest, *, model: str, output_cap: int, cap_name: str, keeps_cache_control: bool = False
    ) -> bytes:
        return render_content(request, model=model, output_cap=output_cap)

    def read_chat(self, body: bytes, *, created: int) -> bytes:
        return read_content(body, created=created)

    def chat_stream(self, *, created: int) -> StreamDecoder | None:
        return ContentStream(created=created)

    def embeddings_url(self, base_url: str, *, model: str) -> str:
        return f"{_versioned(base_url)}/{quote(full_name(model))}:batchEmbedContents"

    def embeddings_body(self, request: EmbeddingsRequest, *, model: str) -> bytes:
        return render_texts(request, model=full_name(model))

    def read_embeddings(self, body: bytes, request: EmbeddingsRequest, *, model: str) -> bytes:
        return read_vectors(body, request, model=model)

    def check_url(self, base_url: str) -> str | None:
        return f"{_versioned(base_url)}/models"


def full_name(model: str) -> str:
    """Return the name of a model as a resource: tuned models come with their own collection."""
    return model if "/" in model else f"models/{model}"


def _versioned(base_url: str) -> str:
    base = base_url.rstrip("/")
    return base if _VERSION.search(base) else f"{base}/v1beta"
