"""Embeddings: the caller's encoding whatever the provider has, and Gemini's own format."""

import base64
import json
import struct
from typing import Any

import pytest

from apps.core.errors import BadRequest
from apps.gateway.metering import BrokenAnswer
from apps.gateway.providers.registry import ADAPTERS
from tests.gateway.providers.reading import recorded, to_embed

FLOATS = "openai_compatible/embeddings_floats.json"


def read(name: str, **members: Any) -> Any:
    adapter = ADAPTERS[name.partition("/")[0]]
    return json.loads(adapter.read_embeddings(recorded(name), to_embed("x", **members), model="m"))


def unpack(text: str) -> list[float]:
    raw = base64.b64decode(text)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


@pytest.mark.parametrize(("name", "rows"), [(FLOATS, 1), ("gemini/embeddings.json", 2)])
def test_vectors_come_in_the_encoding_that_was_asked_for(name: str, rows: int) -> None:
    plain, packed = read(name), read(name, encoding_format="base64")
    assert len(plain["data"]) == rows
    assert plain["data"][0] == {"object": "embedding", "index": 0, "embedding": [0.5, -0.25, 1.0]}
    for row, other in zip(plain["data"], packed["data"], strict=True):
        assert unpack(other["embedding"]) == row["embedding"]
        assert other["index"] == row["index"]


def test_usage_is_reported_only_where_the_provider_does() -> None:
    assert read(FLOATS)["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert "usage" not in read("gemini/embeddings.json")
    body = b'{"embeddings": [{"values": [1]}], "usageMetadata": {"promptTokenCount": 5}}'
    answer = json.loads(ADAPTERS["gemini"].read_embeddings(body, to_embed("x"), model="m"))
    assert answer["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert (answer["object"], answer["model"]) == ("list", "m")


def test_floats_that_were_asked_for_are_not_touched() -> None:
    body = recorded(FLOATS)
    assert ADAPTERS["openai_compatible"].read_embeddings(body, to_embed("x"), model="m") is body


def test_gemini_request() -> None:
    made = ADAPTERS["gemini"].embeddings_body(to_embed(["a", "b"], dimensions=256), model="gemini-embedding-001")
    assert json.loads(made)["requests"] == [
        {
            "model": "models/gemini-embedding-001",
            "content": {"parts": [{"text": text}]},
            "outputDimensionality": 256,
        }
        for text in ("a", "b")
    ]
    made = ADAPTERS["gemini"].embeddings_body(to_embed("a"), model="e")
    assert json.loads(made)["requests"] == [{"model": "models/e", "content": {"parts": [{"text": "a"}]}}]


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]])
def test_gemini_takes_no_tokens(tokens: Any) -> None:
    with pytest.raises(BadRequest) as refusal:
        ADAPTERS["gemini"].embeddings_body(to_embed(tokens), model="e")
    assert (refusal.value.code, refusal.value.param) == ("unsupported_by_provider", "input")


@pytest.mark.parametrize("adapter", ["openai_compatible", "azure_openai", "gemini"])
@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"data": [1]}', b'{"embeddings": []}', b'{"embeddings": [{"values": ["x"]}], "data": [{}]}'],
)
def test_what_holds_no_vectors_is_broken(adapter: str, body: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        ADAPTERS[adapter].read_embeddings(body, to_embed("x", encoding_format="base64"), model="m")
