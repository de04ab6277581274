"""Admission: what a call can cost at most, and the hold that pays for it. Nothing has been spent if it refuses."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
from django.conf import settings

from apps.core.errors import Conflict, FaucetError, Forbidden, InsufficientFunds, Unavailable
from apps.core.money import usd
from apps.features.queries import Terms
from apps.gateway.formats.base import ModelRequest
from apps.gateway.routing import Decision, Rejected, Target
from apps.gateway.routing.target import label_of
from apps.gateway.runtime import Runtime
from apps.gateway.snapshots import Caller
from apps.ledger.statements import HoldRequest, HoldResult
from apps.usage.budgets.refs import Budgets, BudgetWish, wishes
from apps.usage.rate import affordable_output, worst_bill, worst_case
from apps.usage.services.admit import REFUSED, AdmitResult, BudgetedHold, budget_exceeded
from apps.usage.services.settle import HoldMemo

if TYPE_CHECKING:  # a call knows its admission
    from apps.gateway.call import Call

# An answer cut below this many tokens is of no use to anybody: then the call is refused instead.
LEAST_OUTPUT = 16


class Quote(msgspec.Struct, frozen=True):
    """The worst case of a call over all its targets.

    `amount` and `least` are in nano-USD: the price of all the output asked for, and of the least useful output
    (equal where the call must not be shortened). `output_cap` is the limit of one choice in tokens.
    """

    amount: int
    least: int
    prompt_tokens: int
    output_cap: int
    requested_output: int | None


class Admission(msgspec.Struct, frozen=True):
    """A call that is paid for: its quote, where it may be sent, and the output limit that its hold covers.

    `counted`: the quote's prompt tokens were counted, not bounded. `shortened` says that the limit was lowered to fit
    the funds.
    """

    quote: Quote
    decision: Decision
    counted: bool
    output_cap: int
    shortened: bool

    @property
    def capped(self) -> bool:
        """Tell whether the answer may be shorter than the caller asked for."""
        asked = self.quote.requested_output
        return self.shortened or (asked is not None and self.output_cap < asked)


def quote_call(caller: Caller, request: ModelRequest, decision: Decision, *, may_shorten: bool, exact: bool) -> Quote:
    """Return the worst case of a call; its prompt is counted if `exact`, else bounded by its bytes."""
    principal = caller.principal
    cap = principal.max_output_tokens
    if request.max_output is not None:
        cap = min(request.max_output, cap)
    limits = [target.offer.max_output_tokens for target in decision.targets]
    if all(limit is not None for limit in limits):
        cap = min(cap, max(limit for limit in limits if limit is not None))
    prompt_tokens = amount = least = 0
    for target in decision.targets:
        prompt = request.prompt
        offer = target.offer
        tokens = prompt.ceiling(offer.tokenizer, offer.image_tokens) if exact else prompt.bound(offer.image_tokens)
        prompt_tokens = max(prompt_tokens, tokens)
        amount = max(amount, _worst(target, principal.terms, tokens, cap * request.choices))
        if may_shorten:
            least = max(least, _worst(target, principal.terms, tokens, min(cap, LEAST_OUTPUT) * request.choices))
    return Quote(amount, least if may_shorten else amount, prompt_tokens, cap, request.max_output)


async def exact_quote(caller: Caller, request: ModelRequest, decision: Decision, *, may_shorten: bool) -> Quote:
    """Return the worst case of a call with its prompt counted, a long one beside the event loop."""
    if request.prompt.is_long:
        return await asyncio.to_thread(quote_call, caller, request, decision, may_shorten=may_shorten, exact=True)
    return quote_call(caller, request, decision, may_shorten=may_shorten, exact=True)


def _worst(target: Target, terms: Terms, prompt_tokens: int, output_tokens: int) -> int:
    return worst_case(
        target.offer.price, terms, mode=target.mode, prompt_tokens=prompt_tokens, output_tokens=output_tokens
    )


async def admit(
    runtime: Runtime,
    caller: Caller,
    request: ModelRequest,
    decision: Decision,
    budgets: Budgets,
    *,
    request_id: str,
    may_shorten: bool,
    memo: Callable[[Decision, int, int], HoldMemo],
) -> Admission:
    """Hold the worst case of a call, reserve it of the budgets that the call comes under, and return what that covers.

    A credential whose budget does not reach is left out. Raises InsufficientFunds (budget_exceeded among others),
    Forbidden (wallet_frozen) or Unavailable (the ledger is out of reach).
    """
    # Nearly every wallet covers the bound, and then no long prompt is counted. What the bound would refuse or shorten
    # is. A short one always is, so that funds for so many calls let so many through at once.
    exact = request.prompt.is_short
    while True:
        if exact:
            quote = await exact_quote(caller, request, decision, may_shorten=may_shorten)
        else:
            quote = quote_call(caller, request, decision, may_shorten=False, exact=False)
            exact = _may_not_fit(request, decision, quote)
            if exact:
                continue
        note = memo(decision, quote.prompt_tokens, quote.output_cap * request.choices)
        result = await _take(runtime, caller, request_id, quote, note, request.choices, decision, budgets)
        if result.taken:
            break
        if not exact and result.outcome in ("insufficient", REFUSED):
            exact = True
        elif isinstance(result, AdmitResult) and result.refused and not result.is_final:
            decision = _without(decision, result)
        else:
            raise _refusal(quote, result)
    if result.granted >= quote.amount:
        return Admission(quote, decision, exact, quote.output_cap, shortened=False)
    cap = min(_affordable(result.granted, target, caller, request, quote) for target in decision.targets)
    return Admission(quote, decision, exact, max(cap, 1), shortened=True)


def _may_not_fit(request: ModelRequest, decision: Decision, quote: Quote) -> bool:
    """Tell whether a limit that the caller did not name might go beyond a model's context, by the prompt's bound."""
    if request.max_output is not None:
        return False
    most = quote.prompt_tokens + quote.output_cap
    return any(
        target.offer.context_window is not None and target.offer.context_window < most for target in decision.targets
    )


def _without(decision: Decision, result: AdmitResult) -> Decision:
    """Return the decision without the credentials whose budgets refused. Raises InsufficientFunds if none is left."""
    spent = result.refused_credentials
    targets = tuple(target for target in decision.targets if target.credential.id not in spent)
    if not targets or len(targets) == len(decision.targets):
        raise budget_exceeded(result.refused)
    gone = (target for target in decision.targets if target.credential.id in spent)
    rejected = (Rejected(label_of(target.offer), target.mode, "budget_exceeded") for target in gone)
    return replace(decision, model=targets[0].offer.model, targets=targets, rejected=(*decision.rejected, *rejected))


async def hold_exactly(call: "Call", amount: int) -> None:
    """Hold a price that is known: that of an answer from the cache. Raises as `admit` does."""
    quote = Quote(amount, amount, 0, 0, None)
    memo = call.memo(call.decision, 0, 0)
    result = await _take(call.runtime, call.caller, call.request_id, quote, memo, 1, None, call.budgets)
    if not result.taken:
        raise _refusal(quote, result)


async def _take(
    runtime: Runtime,
    caller: Caller,
    request_id: str,
    quote: Quote,
    memo: HoldMemo,
    choices: int,
    decision: Decision | None,
    budgets: Budgets,
) -> HoldResult:
    concerned = [each for each in (budgets, caller.budgets) if each]
    wanted = _wishes(caller, quote, choices, decision, concerned) if concerned else ()
    lease = settings.HOLD_LEASE
    try:
        if wanted:
            return await runtime.holds.submit_budgeted(
                BudgetedHold(request_id, caller.account_id, quote.amount, quote.least, lease, memo, wanted)
            )
        return await runtime.holds.submit(
            HoldRequest(request_id, caller.account_id, quote.amount, quote.least, lease, memo)
        )
    except Unavailable:
        runtime.give_back(request_id)  # it may be taken all the same, its acknowledgement lost
        raise


def _wishes(
    caller: Caller, quote: Quote, choices: int, decision: Decision | None, budgets: Sequence[Budgets]
) -> tuple[BudgetWish, ...]:
    """Return what a call asks of its budgets; without a decision no provider bills it."""
    principal = caller.principal
    bills: dict[str, int] = {}
    for target in decision.targets if decision is not None else ():
        bill = worst_bill(
            target.offer.price,
            mode=target.mode,
            prompt_tokens=quote.prompt_tokens,
            output_tokens=quote.output_cap * choices,
        )
        bills[target.credential.id] = max(bill, bills.get(target.credential.id, 0))
    refs = [
        ref
        for each in budgets
        for ref in each.for_scopes(
            developer_id=principal.developer_id,
            app_id=principal.app_id,
            feature_key=principal.feature_key,
            end_user_id=principal.end_user_id,
            credential_ids=bills,
        )
    ]
    return wishes(refs, bills)


def _affordable(funds: int, target: Target, caller: Caller, request: ModelRequest, quote: Quote) -> int:
    total = affordable_output(
        funds,
        target.offer.price,
        caller.principal.terms,
        mode=target.mode,
        prompt_tokens=quote.prompt_tokens,
        output_tokens=quote.output_cap * request.choices,
    )
    return total // request.choices


def _refusal(quote: Quote, result: HoldResult) -> FaucetError:
    if result.outcome == "frozen":
        return Forbidden("This wallet is frozen.", code="wallet_frozen")
    if result.outcome == "insufficient":
        available = max(result.available, 0)
        return InsufficientFunds(
            f"This call may cost up to ${usd(quote.amount)} and ${usd(available)} is available.",
            details={"max_price_usd": usd(quote.amount), "available_usd": usd(available)},
        )
    if isinstance(result, AdmitResult) and result.refused:
        return budget_exceeded(result.refused)
    return Conflict(f"The hold for this request was not taken: {result.outcome}.", code="hold_not_taken")
