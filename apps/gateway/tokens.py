"""Token counts without a network: a bound from the byte length where that decides, else a real tokenizer."""

from functools import lru_cache
from typing import Any

from rs_bpe import openai

# Counting takes about 20 µs a kB and lets nothing else run: a longer text than this is counted in a thread.
COUNT_INLINE = 16_384
# A text up to this length is counted before every call: at most 6 µs.
COUNT_ALWAYS = 512
# The tokenizer lets no other thread run while it counts, so a long text is counted in pieces.
PIECE = 65_536
# Percent by which other providers' tokenizers are taken to exceed the one we count with.
UNKNOWN_MARGIN = 30


@lru_cache
def _tokenizer(name: str) -> Any:
    return openai.cl100k_base() if name == "cl100k_base" else openai.o200k_base()


def load_vocabulary() -> None:
    """Load the vocabulary that most models are counted with: 40 ms and 70 MB, better spent before the first request."""
    _tokenizer("o200k_base")


def count_tokens(text: str, tokenizer: str) -> int:
    """Return the tokens of `text`; an unknown tokenizer is counted with o200k_base."""
    count = _tokenizer(tokenizer).count
    return sum(int(count(text[start : start + PIECE])) for start in range(0, len(text), PIECE))


class Prompt:
    """The size of a prompt: its text, its images, and tokens for what is neither (message frames, files).

    What an image counts at most depends on the model: `image_tokens` of its offer.
    """

    __slots__ = ("_exact", "images", "other", "text")

    def __init__(self, text: str, other: int, images: int = 0) -> None:
        self.text = text
        self.other = other
        self.images = images
        self._exact: dict[str, int] = {}

    @property
    def is_short(self) -> bool:
        return len(self.text) <= COUNT_ALWAYS

    @property
    def is_long(self) -> bool:
        return len(self.text) > COUNT_INLINE

    def bound(self, image_tokens: int) -> int:
        """Return tokens that the prompt cannot exceed: no byte-level tokenizer makes more tokens than bytes."""
        text = self.text
        return (len(text) if text.isascii() else len(text.encode())) + self._rest(image_tokens)

    def ceiling(self, tokenizer: str, image_tokens: int) -> int:
        """Return tokens that the prompt is not expected to exceed, which is what a call is held for."""
        counted = self._count_text(tokenizer)
        if tokenizer == "unknown":
            counted = -(-counted * (100 + UNKNOWN_MARGIN) // 100)
        return min(counted + self._rest(image_tokens), self.bound(image_tokens))

    def count(self, tokenizer: str, image_tokens: int) -> int:
        """Return the tokens of the prompt as counted, which is what a call whose usage is missing is charged for."""
        return self._count_text(tokenizer) + self._rest(image_tokens)

    def _rest(self, image_tokens: int) -> int:
        return self.other + self.images * image_tokens

    def _count_text(self, tokenizer: str) -> int:
        if tokenizer not in self._exact:
            self._exact[tokenizer] = count_tokens(self.text, tokenizer)
        return self._exact[tokenizer]
