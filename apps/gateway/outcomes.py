"""How a call ended and what that means for its payer: the table in docs/reference/money.md, as a function.

Pure.
"""

import msgspec

from apps.usage.models import Outcome
from apps.usage.rate import Tokens

# The caller's own limit (or the funds') was reached: tokens were made as ordered, though none may be visible.
_CUT_OFF = {"length", "max_tokens"}


class Ending(msgspec.Struct, frozen=True):
    """What is known when a call is over.

    `complete`: the provider came to its end. `failed`: it broke off or reported an error. `client_left`: nobody
    was listening at the end. `own_stop`: the caller named stop sequences, so an answer may be empty by its own wish.
    `reported` is the provider's usage; `delivered` counts what the client was sent.
    """

    complete: bool
    failed: bool
    client_left: bool
    has_content: bool
    own_stop: bool
    finish_reason: str | None
    reported: Tokens | None
    prompt_tokens: int
    delivered_tokens: int


class Verdict(msgspec.Struct, frozen=True):
    """What the usage event says: outcome, whether the payer is charged, the tokens, whether they are estimated."""

    outcome: Outcome
    charged: bool
    tokens: Tokens
    estimated: bool


def judge(ending: Ending) -> Verdict:
    """Return the verdict on a call that reached a provider."""
    estimate = Tokens(input=ending.prompt_tokens, output=ending.delivered_tokens)
    tokens = ending.reported if ending.reported is not None else estimate
    estimated = ending.reported is None
    if ending.client_left and not ending.complete:
        # Cut off past the bound, or the provider failed with nobody listening: the price of what was delivered.
        delivered = ending.delivered_tokens > 0 and not ending.failed
        return Verdict(Outcome.CLIENT_LEFT, delivered, estimate, True)
    if ending.failed or not ending.complete:
        return Verdict(Outcome.PROVIDER_FAILED, False, tokens, estimated)
    if ending.finish_reason == "error":
        return Verdict(Outcome.ERROR_FINISH, False, tokens, estimated)
    if not ending.has_content and not ending.own_stop and ending.finish_reason not in _CUT_OFF:
        return Verdict(Outcome.EMPTY, False, tokens, estimated)
    return Verdict(Outcome.CLIENT_LEFT if ending.client_left else Outcome.FINISHED, True, tokens, estimated)
