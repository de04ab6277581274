"""Vectors of texts: the built-in local embedding, and which vectors are near. Pure.

The built-in embedding counts hashed words, pairs of words and pieces of words. It knows spelling, not meaning: it finds
a question that was typed a little differently, not one that was put in other words.

numpy is imported where it is used: 11 MB that only the processes with semantic caches need.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zlib import crc32

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]
else:
    Vector = Any

DIMENSIONS = 1_024
# A longer vector, in numbers, is none.
MAX_DIMENSIONS = 8_192
# Scripts that put no spaces between words: each of their characters counts as one.
_SPACELESS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_SPACELESS}]|[^\W{_SPACELESS}]+")
_PIECES = (2, 3, 4)
# What a word, two words in a row and a piece of a word weigh.
_WORD_WEIGHT, _PAIR_WEIGHT, _PIECE_WEIGHT = 1.0, 0.5, 0.4


def hashed_ngrams(text: str) -> Vector | None:
    """Return the built-in embedding of a text, of length 1; None where it has no words."""
    import numpy as np

    weights: Counter[str] = Counter()
    for feature, weight in _features(text):
        weights[feature] += weight  # type: ignore[assignment]  # a Counter counts floats as well
    if not weights:
        return None
    vector = np.zeros(DIMENSIONS, dtype=np.float32)
    for feature, weight in weights.items():
        hashed = crc32(feature.encode())
        vector[(hashed >> 1) % DIMENSIONS] += weight if hashed & 1 else -weight
    return normalised(vector)


def _features(text: str) -> Iterator[tuple[str, float]]:
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    for word in words:
        yield f"w{word}", _WORD_WEIGHT
        framed = f" {word} "
        for size in _PIECES:
            for start in range(len(framed) - size + 1):
                yield f"p{framed[start : start + size]}", _PIECE_WEIGHT / len(_PIECES)
    for first, second in pairwise(words):
        yield f"2{first} {second}", _PAIR_WEIGHT


def normalised(numbers: Sequence[float] | Vector) -> Vector | None:
    """Return a vector of length 1, None for what has no direction or is none."""
    import numpy as np

    vector = np.asarray(numbers, dtype=np.float32)
    if vector.ndim != 1 or not 0 < vector.size <= MAX_DIMENSIONS:
        return None
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0:
        return None
    return (vector / length).astype(np.float32)


def nearest(vector: Vector, stored: Sequence[tuple[str, bytes]], *, threshold: float) -> list[str]:
    """Return the keys whose vectors have at least this cosine with `vector`, the nearest first, of equals the first.

    `stored` vectors are bytes of little-endian floats and have length 1; those of another size are left out.
    """
    import numpy as np

    size = vector.size * 4
    fitting = [(key, kept) for key, kept in stored if len(kept) == size]
    if not fitting:
        return []
    matrix = np.frombuffer(b"".join(kept for _, kept in fitting), dtype="<f4").reshape(len(fitting), vector.size)
    # The rounding of 32 bits must not keep a text from being like itself.
    near = matrix @ vector + 1e-6
    order = np.argsort(-near, kind="stable")
    return [fitting[place][0] for place in order if near[place] >= threshold]
