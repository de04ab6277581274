"""Embeddings through batchEmbedContents. Source: https://ai.google.dev/api/embeddings."""

from typing import Any

from apps.gateway.formats.embeddings import EmbeddingsRequest
from apps.gateway.metering import BrokenAnswer
from apps.gateway.providers.answers import encode, is_count, objects
from apps.gateway.providers.base import unsupported
from apps.gateway.providers.canonical import Members, encode_body, wrong
from apps.gateway.providers.embeddings import pack, wants_base64
from apps.gateway.providers.sse import read_object


def render_texts(request: EmbeddingsRequest, *, model: str) -> bytes:
    """Return the body; `model` is the resource name. Arrays of tokens are refused: their vocabulary is OpenAI's."""
    members = Members(request)
    given = members.value("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise wrong("input", "a string or an array of strings")
    if not all(isinstance(text, str) for text in texts):
        raise unsupported("input", "it takes text, not tokens")
    dimensions = members.whole("dimensions")
    more: dict[str, Any] = {} if dimensions is None else {"outputDimensionality": dimensions}
    return encode_body(
        {"requests": [{"model": model, "content": {"parts": [{"text": text}]}, **more} for text in texts]}
    )


def read_vectors(body: bytes, request: EmbeddingsRequest, *, model: str) -> bytes:
    """Return the canonical list. Raises BrokenAnswer where `body` holds no embeddings."""
    answer = read_object(body)
    rows = objects(answer.get("embeddings"))
    if not rows or not all(isinstance(row.get("values"), list) for row in rows):
        raise BrokenAnswer("no embeddings")
    in_base64 = wants_base64(request)
    made: dict[str, Any] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": place, "embedding": pack(row["values"]) if in_base64 else row["values"]}
            for place, row in enumerate(rows)
        ],
        "model": model,
    }
    metadata = answer.get("usageMetadata")
    tokens = metadata.get("promptTokenCount") if isinstance(metadata, dict) else None
    if is_count(tokens):
        made["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return encode(made)
