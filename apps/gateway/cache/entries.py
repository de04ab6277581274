"""What is kept of an answer."""

import msgspec

from apps.gateway.outcomes import Verdict
from apps.gateway.routing import Target
from apps.usage.models import Outcome
from apps.usage.rate import BYOK, LOCAL, Tokens

# A larger answer, in bytes of canonical JSON, is not kept.
MAX_BYTES = 262_144
# How an answer ends that is one. `length` is what was asked for, unless funds made it shorter.
_WHOLE = frozenset(("stop", "tool_calls", "function_call", "length", "end_turn", "eos"))
# On keys and machines of the end user's own: what was made there belongs to that user alone.
PRIVATE_MODES = frozenset((BYOK, LOCAL))


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """An answer in canonical form, and what receipts say of it.

    `provider` and `model` (as the provider calls it) are what made it; `tokens` are what that took.
    """

    body: bytes
    provider: str
    model: str
    tokens: tuple[int, int, int, int, int]
    estimated: bool
    finish_reason: str | None

    @property
    def counted(self) -> Tokens:
        """Return the tokens by their kinds."""
        return Tokens(*self.tokens)

    def target_among(self, targets: tuple[Target, ...]) -> Target | None:
        """Return the target of a call that could have made this answer; without one the call may not have it."""
        for target in targets:
            offer = target.offer
            if (
                (offer.provider, offer.upstream_model) == (self.provider, self.model)
                and target.mode not in PRIVATE_MODES
                and not target.degraded
            ):
                return target
        return None

    def encode(self) -> bytes:
        return _encode(self)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


def decode(stored: bytes) -> Entry | None:
    """Return a stored answer, None for what another version of this code has stored."""
    try:
        return _decode(stored)
    except msgspec.MsgspecError:
        return None


def entry_of(
    body: bytes, target: Target, verdict: Verdict, finish_reason: str | None, *, shortened: bool
) -> Entry | None:
    """Return what is to be kept of an answer that was settled, None where it is not fit for another call.

    `shortened`: its limit was lowered to what the payer had.
    """
    if not verdict.charged or verdict.outcome not in (Outcome.FINISHED, Outcome.CLIENT_LEFT):
        return None
    if finish_reason not in _WHOLE or (shortened and finish_reason == "length"):
        return None
    if len(body) > MAX_BYTES or target.degraded or target.mode in PRIVATE_MODES:
        return None
    tokens = verdict.tokens
    return Entry(
        body,
        target.offer.provider,
        target.offer.upstream_model,
        (tokens.input, tokens.cache_read, tokens.cache_write, tokens.output, tokens.reasoning),
        verdict.estimated,
        finish_reason,
    )
