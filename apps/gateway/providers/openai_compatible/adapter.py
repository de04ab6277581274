from apps.gateway.formats.embeddings import EmbeddingsRequest
from apps.gateway.providers.base import CHAT, EMBEDDINGS, Headers, StreamDecoder
from apps.gateway.providers.embeddings import as_asked
from apps.gateway.wire import ChatRequest


class OpenAICompatible:
    """The identity: base_url is what stands before /chat/completions, version included."""

    name: str = "openai_compatible"
    operations: frozenset[str] = frozenset({CHAT, EMBEDDINGS})
    extra_headers: Headers = ()

    def chat_url(self, base_url: str, *, model: str, stream: bool) -> str:
        return f"{base_url.rstrip('/')}/chat/completions"

    def chat_body(
        self, request: ChatRequest, *, model: str, output_cap: int, cap_name: str, keeps_cache_control: bool = False
    ) -> bytes:
        return request.render(
            model=model, output_cap=output_cap, cap_name=cap_name, keeps_cache_control=keeps_cache_control
        )

    def read_chat(self, body: bytes, *, created: int) -> bytes:
        return body

    def chat_stream(self, *, created: int) -> StreamDecoder | None:
        return None

    def embeddings_url(self, base_url: str, *, model: str) -> str:
        return f"{base_url.rstrip('/')}/embeddings"

    def embeddings_body(self, request: EmbeddingsRequest, *, model: str) -> bytes:
        return request.render(model=model)

    def read_embeddings(self, body: bytes, request: EmbeddingsRequest, *, model: str) -> bytes:
        return as_asked(body, request)

    def check_url(self, base_url: str) -> str | None:
        return f"{base_url.rstrip('/')}/models"
