"""The demo provider's embeddings: the same text is always the same vector, texts that share words are near. Pure."""

import base64
import math
import re
import struct
from typing import Any
from zlib import crc32

from modelfaucet.demo.answers import LONGEST_TEXT
from modelfaucet.demo.completion import Refused, count

EMBEDDING_MODEL = "faucet-demo-embedding"
DIMENSIONS = 256
MOST_INPUTS = 2_048
_WORD = re.compile(r"[^\W_\u3400-\u9fff]+|[\u3400-\u9fff]")


def embed(body: Any) -> dict[str, Any]:
    """Return the answer to a request body of OpenAI's embeddings. Raises Refused."""
    if not isinstance(body, dict):
        raise Refused(400, "The request body must be a JSON object.")
    model = body.get("model")
    if model != EMBEDDING_MODEL:
        raise Refused(404, f"The model `{model}` does not exist.", param="model", code="model_not_found")
    dimensions = body.get("dimensions") or DIMENSIONS
    if not isinstance(dimensions, int) or not 1 <= dimensions <= DIMENSIONS:
        raise Refused(400, f"'dimensions' must be a whole number from 1 to {DIMENSIONS}.", param="dimensions")
    inputs = _inputs(body.get("input"))
    packed = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else vector}
        for index, vector in enumerate(_vector(words, dimensions) for words, _ in inputs)
    ]
    tokens = sum(used for _, used in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def _inputs(value: Any) -> list[tuple[list[str], int]]:
    """Return the words of each input with its number of tokens; an array of token ids has its ids for words."""
    whole = not isinstance(value, list) or (bool(value) and isinstance(value[0], int))
    found: list[tuple[list[str], int]] = []
    for each in [value] if whole else value:
        if isinstance(each, str) and each:
            found.append((_WORD.findall(each[:LONGEST_TEXT].lower()) or [each[:LONGEST_TEXT]], count(each)))
        elif isinstance(each, list) and each and all(isinstance(token, int) for token in each):
            found.append(([str(token) for token in each], len(each)))
        else:
            raise Refused(400, "'input' must be a text, a list of texts, or token ids.", param="input")
    if not 0 < len(found) <= MOST_INPUTS:
        raise Refused(400, f"'input' must have 1 to {MOST_INPUTS} texts.", param="input")
    return found


def _vector(words: list[str], dimensions: int) -> list[float]:
    """Return a vector of length 1: each word adds to a few places that its checksum names."""
    vector = [0.0] * dimensions
    for word in words:
        for salt in (b"0", b"1", b"2"):
            mixed = crc32(word.encode("utf-8", "replace") + salt)
            vector[mixed % dimensions] += 1.0 if mixed & 0x8000_0000 else -1.0
    length = math.sqrt(sum(part * part for part in vector))
    if length == 0:  # words that cancel each other out
        vector[0] = length = 1.0
    return [part / length for part in vector]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
