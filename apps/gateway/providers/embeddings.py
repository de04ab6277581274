"""Canonical embeddings: vectors as arrays of numbers, or as base64 of little-endian 32-bit floats."""

import base64
import struct
from typing import Any

import msgspec

from apps.gateway.formats.embeddings import EmbeddingsRequest
from apps.gateway.metering import BrokenAnswer

_BASE64 = msgspec.Raw(b'"base64"')
_encode = msgspec.json.Encoder().encode


def wants_base64(request: EmbeddingsRequest) -> bool:
    """Tell whether the caller asked for base64 vectors."""
    return request.members.get("encoding_format") == _BASE64


def pack(vector: Any) -> str:
    """Return a vector in base64. Raises BrokenAnswer where it is none."""
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (TypeError, struct.error, OverflowError) as error:
        raise BrokenAnswer("an embedding that is no vector") from error


def as_asked(body: bytes, request: EmbeddingsRequest) -> bytes:
    """Return an OpenAI-like answer in the caller's encoding; some providers ignore `encoding_format`."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BrokenAnswer("not JSON") from error
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or not all(isinstance(row, dict) and "embedding" in row for row in data):
        raise BrokenAnswer("no embeddings")
    if not wants_base64(request):
        return body
    floats = [row for row in data if isinstance(row["embedding"], list)]
    if not floats:
        return body
    for row in floats:
        row["embedding"] = pack(row["embedding"])
    return _encode(answer)
