"""OpenAI's embeddings: checked where it is acted on; the rest of the request and the answer go through as they came."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from apps.core.errors import BadRequest, FaucetError
from apps.gateway.metering import BrokenAnswer, read_usage
from apps.gateway.tokens import Prompt
from apps.gateway.wire import MAX_MODEL_NAME, parse_object, read_member, refuse_unpriced, wrong
from apps.usage.rate import Tokens

MAX_INPUTS = 2_048
# Tokens that a model adds to each input (its start and end): an upper bound.
TOKENS_PER_INPUT = 4
_NULL = msgspec.Raw(b"null")
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class EmbeddingsRequest:
    """A parsed embeddings request of `inputs` texts or token arrays. It has no output: only its prompt is priced."""

    members: dict[str, msgspec.Raw]
    model: str | None
    inputs: int
    prompt: Prompt = field(repr=False)
    # What a chat completion has and this has not.
    operation: ClassVar[str] = "embeddings"
    stream: ClassVar[bool] = False
    wants_usage: ClassVar[bool] = False
    own_stop: ClassVar[bool] = False
    max_output: ClassVar[int] = 0
    choices: ClassVar[int] = 1
    ignored: ClassVar[tuple[str, ...]] = ()

    def render(self, *, model: str) -> bytes:
        """Return the body for a provider, with its model name."""
        return _encode({**self.members, "model": model})


class EmbeddingsFormat:
    """POST /v1/embeddings."""

    endpoint = "embeddings"

    def parse(self, body: bytes) -> EmbeddingsRequest:
        """Parse a request. Raises BadRequest naming the member that is wrong."""
        members = parse_object(body)
        for name in members:
            if name.casefold() in ("model", "input") and name not in ("model", "input"):
                raise BadRequest(f"'{name}' is spelt '{name.casefold()}'.", code="unknown_parameter", param=name)
        model = read_member(members, "model", str, "a string")
        if model is not None and not 0 < len(model) <= MAX_MODEL_NAME:
            raise wrong("model", f"a name of at most {MAX_MODEL_NAME} characters")
        encoding = read_member(members, "encoding_format", str, "a string")
        if encoding not in (None, "float", "base64"):
            raise wrong("encoding_format", "'float' or 'base64'")
        dimensions = read_member(members, "dimensions", int, "a whole number")
        if dimensions is not None and dimensions < 1:
            raise wrong("dimensions", "a whole number from 1")
        refuse_unpriced(members)
        inputs, prompt = _read_input(members.get("input", _NULL))
        return EmbeddingsRequest(members, model, inputs, prompt)

    def error(self, error: FaucetError, request_id: str | None) -> dict[str, Any]:
        return error.envelope(request_id)


EMBEDDINGS = EmbeddingsFormat()


def read_embeddings(body: bytes) -> Tokens | None:
    """Return the usage that a provider's answer reports, None where it is missing.

    Raises BrokenAnswer where the answer holds no list of embeddings.
    """
    try:
        answer = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        data = msgspec.json.decode(answer.get("data", _NULL), type=list[msgspec.Raw])
        usage = msgspec.json.decode(answer.get("usage", _NULL))
    except (msgspec.DecodeError, RecursionError) as error:
        raise BrokenAnswer("no embeddings") from error
    if not data:
        raise BrokenAnswer("no embeddings")
    if isinstance(usage, dict):
        # Some providers report the total only; an embedding has no completion.
        usage = {
            **usage,
            "completion_tokens": 0,
            "prompt_tokens": usage.get("prompt_tokens", usage.get("total_tokens")),
        }
    return read_usage(usage)


def _read_input(raw: msgspec.Raw) -> tuple[int, Prompt]:
    """Return how many inputs there are, and their size."""
    takes = "a string, an array of strings, an array of tokens or an array of arrays of tokens"
    try:
        given = msgspec.json.decode(raw, type=str | list[str | int | list[int]] | None)
    except (msgspec.DecodeError, RecursionError) as error:
        raise wrong("input", takes) from error
    if given is None:
        raise BadRequest("'input' is required.", code="missing_parameter", param="input")
    if isinstance(given, str):
        given = [given]
    if given and all(isinstance(each, int) for each in given):
        return 1, Prompt("", len(given) + TOKENS_PER_INPUT)
    if not given or len({type(each) for each in given}) > 1:
        raise wrong("input", takes)
    if len(given) > MAX_INPUTS:
        raise wrong("input", f"at most {MAX_INPUTS} inputs")
    texts = [each for each in given if isinstance(each, str)]
    other = len(given) * TOKENS_PER_INPUT + sum(len(each) for each in given if isinstance(each, list))
    if not all(given):
        raise wrong("input", "no empty input")
    return len(given), Prompt("\n".join(texts), other)
