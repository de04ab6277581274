"""Admitting: the holds of calls that begin, with what they reserve of budgets, many calls in one statement.

Pure: the gateway's group committer runs what is built here. The same statement shrinks the holds of calls that are
settled, so that their funds and budgets are free for those that follow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from apps.core.errors import InsufficientFunds
from apps.core.money import usd
from apps.ledger.statements import HoldRequest, HoldResult
from apps.ledger.statements import hold_results as read_holds
from apps.usage.budgets.refs import CREDENTIAL, BudgetWish

ADMIT = "SELECT request_id, granted, available, outcome, refused FROM usage_admit(%s::json, %s::text[])"
REFUSED = "budget"

_encode = msgspec.json.Encoder().encode


class BudgetedHold(HoldRequest, frozen=True):
    """A hold to take together with what the call asks of its budgets, all of it or nothing; each budget once."""

    budgets: tuple[BudgetWish, ...] = ()


@dataclass(frozen=True, slots=True)
class BudgetRefusal:
    """A hard budget that does not cover a call: its limit and what is left, in nano-USD; its period ends in seconds.

    `credentials` are those of the call that it is for.
    """

    budget_id: str
    scope: str
    scope_id: str
    period: str
    limit: int
    remaining: int
    ends_in: int
    credentials: tuple[str, ...] = ()


class AdmitResult(HoldResult, frozen=True):
    """What became of a hold with budgets. With the outcome `budget`, nothing was taken and `refused` says why."""

    refused: tuple[BudgetRefusal, ...] = ()

    @property
    def refused_credentials(self) -> frozenset[str]:
        """Return the credentials whose budgets refused; the call may be tried again without their targets."""
        return frozenset(credential for refusal in self.refused for credential in refusal.credentials)

    @property
    def is_final(self) -> bool:
        """Tell whether other credentials would not help: a budget of the caller's side refused."""
        return any(refusal.scope != CREDENTIAL for refusal in self.refused)


def admit_parameters(requests: Sequence[HoldRequest], settled: Sequence[str]) -> tuple[str, list[str]]:
    """Return the parameters of ADMIT: holds to take, and ids of calls whose events are stored."""
    return _encode(requests).decode(), list(settled)


def admit_results(requests: Sequence[HoldRequest], rows: Sequence[tuple[str, int, int, str, Any]]) -> list[HoldResult]:
    """Return the result of each request, in their order: an AdmitResult of a BudgetedHold."""
    reasons = {row[0]: row[4] for row in rows}
    results = []
    for request, held in zip(requests, read_holds(requests, [row[:4] for row in rows]), strict=True):
        if isinstance(request, BudgetedHold):
            asked = {wish.budget_id: wish.credentials for wish in request.budgets}
            refused = tuple(
                _refusal(reason, asked[reason["budget_id"]]) for reason in reasons[request.request_id] or ()
            )
            held = AdmitResult(held.outcome, held.granted, held.available, held.taken, refused)
        results.append(held)
    return results


def budget_exceeded(refused: Sequence[BudgetRefusal]) -> InsufficientFunds:
    """Return the error of a call that its budgets refuse, about the one that frees up last."""
    refusal = max(refused, key=lambda one: (one.scope != CREDENTIAL, one.ends_in))
    return InsufficientFunds(
        f"This call may exceed the budget of its {refusal.scope.replace('_', ' ')} for this {refusal.period}.",
        code="budget_exceeded",
        retry_after=refusal.ends_in,
        details={
            "scope": refusal.scope,
            "limit_usd": usd(refusal.limit),
            "remaining_usd": usd(refusal.remaining),
            "period": refusal.period,
        },
    )


def _refusal(reason: dict[str, Any], credentials: tuple[str, ...]) -> BudgetRefusal:
    ends_in = max(math.ceil(reason["ends_in"]), 1)
    return BudgetRefusal(**{**reason, "ends_in": ends_in, "credentials": credentials})
