"""Payouts: what a developer can be paid, and proposing it. Nothing is sent from here.

A proposal is an offer to the operators; `payout_reviews` decides about it, `payout_sending` sends what was approved.
"""

import logging
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext
from psycopg.errors import UniqueViolation

from apps.billing.models.payouts import (
    OPEN_STATUSES,
    Decision,
    Payout,
    PayoutAccount,
    PayoutDetails,
    PayoutOrigin,
    PayoutReview,
    PayoutSkip,
    PayoutStatus,
    Rail,
    SkipReason,
)
from apps.billing.services.maturing import matured
from apps.billing.services.payout_risk import Risk, developer_risk
from apps.billing.services.payout_stop import payouts_stopped
from apps.billing.services.payout_terms import PayoutTerms, hold_days, payout_terms
from apps.core.errors import BadRequest, Conflict, FaucetError
from apps.core.ids import new_id
from apps.core.money import NANO_PER_CENT, NANO_PER_USD, usd
from apps.developers.queries import is_active
from apps.developers.services import audit
from apps.ledger.models import AccountKind
from apps.ledger.queries import KindTotals, account_id, balance, owners_in_credit
from apps.usage.queries import earnings_by_app

__all__ = ["AppShare", "Payable", "hold_days", "next_run", "payable", "period_of", "propose", "run_proposals"]

logger = logging.getLogger(__name__)

SYSTEM = "system"
# Payouts that came to nothing: another may be asked for in the same period.
_CAME_TO_NOTHING = (PayoutStatus.REJECTED, PayoutStatus.FAILED, PayoutStatus.REVERSED)


@dataclass(frozen=True, slots=True)
class AppShare:
    """What an app earned its developer in the time that a payout is for."""

    app_id: str
    calls: int
    price: int
    developer: int


@dataclass(frozen=True, slots=True)
class Payable:
    """What a developer can be paid at a moment, in nano-USD, and how that comes about.

    `free` = matured − reserve may be negative; `payable` is `free` in whole cents, never below 0 nor above the
    balance. `reserve` is `reserve_bps` of `under_reserve`, the matured credits of the last days. `maturing` says on
    which date how much will mature. `by_app` covers what was earned from `since` until `cutoff` (exclusive).
    """

    developer_id: str
    terms: PayoutTerms
    cutoff: datetime
    since: datetime | None
    balance: int
    matured: int
    immature: int
    under_reserve: int
    reserve: int
    free: int
    payable: int
    maturing: tuple[tuple[date, int], ...]
    kinds: tuple[KindTotals, ...]
    by_app: tuple[AppShare, ...]


def payable(developer_id: str, *, now: datetime, by_app: bool = True) -> Payable:
    """Return what a developer can be paid at `now`, whether or not it has a payout account.

    Without `by_app` the apps' shares are left out.
    """
    terms = payout_terms(developer_id)
    cutoff = terms.cutoff(now)
    found = matured(developer_id, terms, now=now)
    reserve = -(-found.recent * terms.reserve_bps // 10_000)  # rounded up, as what is kept back
    free = min(found.matured - reserve, found.balance)
    since = _paid_until(developer_id)
    return Payable(
        developer_id=developer_id,
        terms=terms,
        cutoff=cutoff,
        since=since,
        balance=found.balance,
        matured=found.matured,
        immature=found.immature,
        under_reserve=found.recent,
        reserve=reserve,
        free=free,
        payable=max(free, 0) // NANO_PER_CENT * NANO_PER_CENT,
        maturing=found.maturing,
        kinds=found.kinds,
        by_app=_by_app(developer_id, since, cutoff) if by_app else (),
    )


def propose(
    developer_id: str, *, origin: str, now: datetime, actor: str, reason: str = "", amount: int | None = None
) -> str:
    """Propose a payout of all that is payable, or of `amount` nano-USD of it, and return its id.

    Nothing is sent before it is approved; where the risk score is at its limit the payout begins as held. Raises
    BadRequest (below_minimum, invalid_amount) and Conflict (payout_open, payout_account_not_ready, payouts_stopped,
    developer_disabled, revenue_frozen, payout_period_used).
    """
    if refusal := refusal_to_pay(developer_id):
        raise Conflict(REFUSALS[refusal], code=CODES[refusal])
    found = payable(developer_id, now=now)
    wanted = found.payable if amount is None else amount
    _check_amount(wanted, found)
    period = period_of(now)
    if origin != PayoutOrigin.OPERATOR and _used(developer_id, period):
        raise Conflict(
            gettext("There has been a payout in %(period)s already.") % {"period": period}, code="payout_period_used"
        )
    return _store(found, wanted, origin=origin, period=period, now=now, actor=actor, reason=reason)


def run_proposals(*, now: datetime) -> int:
    """Propose what is payable to every developer, once a period each, and return how many proposals were made.

    Whoever gets none is noted in `payout_skips` with the reason. May run as often as it likes.
    """
    period, made = period_of(now), 0
    owners = owners_in_credit(AccountKind.DEVELOPER)
    known = set(PayoutAccount.objects.exclude(rail="").values_list("pk", flat=True))
    for developer_id in sorted(owners.keys() | known):
        if _used(developer_id, period):
            continue
        try:
            made += _propose_or_skip(developer_id, period, now)
        except FaucetError as error:  # a neighbour of this run was first, or the balance moved: the next look decides
            logger.info("payout not proposed", extra={"developer_id": developer_id, "code": error.code})
        except Exception:  # one developer's trouble is not the others'
            logger.exception("payout proposal failed", extra={"developer_id": developer_id})
    return made


REFUSALS = {
    SkipReason.NO_ACCOUNT: "There is no payout account that is ready.",
    SkipReason.STOPPED: "Payouts, all or this developer's, are stopped.",
    SkipReason.DISABLED: "The developer is disabled.",
    SkipReason.FROZEN: "The developer's revenue account is frozen.",
    SkipReason.OPEN_PAYOUT: "Another payout is open.",
}
CODES = {
    SkipReason.NO_ACCOUNT: "payout_account_not_ready",
    SkipReason.STOPPED: "payouts_stopped",
    SkipReason.DISABLED: "developer_disabled",
    SkipReason.FROZEN: "revenue_frozen",
    SkipReason.OPEN_PAYOUT: "payout_open",
}


def refusal_to_pay(developer_id: str, *, but: str | None = None) -> SkipReason | None:
    """Return why no payout may go to a developer now, or None; the payout `but` does not count as open."""
    row = PayoutAccount.objects.filter(pk=developer_id).first()
    if not is_active(developer_id):
        return SkipReason.DISABLED
    if (row is not None and row.stopped_at is not None) or payouts_stopped() is not None:
        return SkipReason.STOPPED
    if row is None or not account_ready(row):
        return SkipReason.NO_ACCOUNT
    account = account_id(AccountKind.DEVELOPER, developer_id)
    if account is not None and balance(account).frozen:
        return SkipReason.FROZEN
    if Payout.objects.filter(developer_id=developer_id, status__in=OPEN_STATUSES).exclude(pk=but).exists():
        return SkipReason.OPEN_PAYOUT
    return None


def account_ready(row: PayoutAccount) -> bool:
    """Tell whether money can reach a developer: Stripe pays its account out, or its bank details are there."""
    if row.rail == Rail.STRIPE:
        return bool(row.stripe_account_id and row.payouts_enabled and row.deauthorized_at is None)
    return row.rail == Rail.MANUAL and bool(row.details_id)


def period_of(now: datetime) -> str:
    """Return the name of the period that `now` (UTC) falls in: `2026-11`, or `2026-W47` where a period is a week."""
    moment = now.astimezone(UTC)
    if settings.PAYOUT_PERIOD == "week":
        year, week, _ = moment.isocalendar()
        return f"{year}-W{week:02d}"
    return f"{moment:%Y-%m}"


def next_run(developer_id: str, *, now: datetime) -> date:
    """Return the date (UTC) of the next look at a developer: tomorrow, or the next period where this one is used."""
    today = now.astimezone(UTC).date()
    if not _used(developer_id, period_of(now)):
        return date.fromordinal(today.toordinal() + 1)
    if settings.PAYOUT_PERIOD == "week":
        return date.fromordinal(today.toordinal() + 8 - today.isoweekday())
    return date(today.year + today.month // 12, today.month % 12 + 1, 1)


def _propose_or_skip(developer_id: str, period: str, now: datetime) -> int:
    reason = refusal_to_pay(developer_id)
    found = payable(developer_id, now=now, by_app=False)
    if reason is None and found.payable < max(found.terms.minimum, NANO_PER_CENT):
        reason = SkipReason.BELOW_MINIMUM
    if reason is None:
        found = replace(found, by_app=_by_app(developer_id, found.since, found.cutoff))
        _store(found, found.payable, origin=PayoutOrigin.SCHEDULED, period=period, now=now, actor=SYSTEM, reason="")
        PayoutSkip.objects.filter(developer_id=developer_id, period=period).delete()
        return 1
    PayoutSkip.objects.update_or_create(
        developer_id=developer_id,
        period=period,
        defaults={"reason": reason, "payable_nano": found.payable, "at": now},
    )
    return 0


def _store(found: Payable, amount: int, *, origin: str, period: str, now: datetime, actor: str, reason: str) -> str:
    row = PayoutAccount.objects.get(pk=found.developer_id)
    risk = developer_risk(found.developer_id)
    held = risk is not None and risk.score >= settings.PAYOUT_RISK_LIMIT
    payout_id = new_id("pay")
    destination, hint = _destination(row)
    try:
        with transaction.atomic():
            Payout.objects.create(
                id=payout_id,
                developer_id=found.developer_id,
                origin=origin,
                requested_by=actor,
                period=period,
                cutoff_at=found.cutoff,
                amount_nano=amount,
                rail=row.rail,
                destination=destination,
                destination_hint=hint,
                status=PayoutStatus.HELD if held else PayoutStatus.PROPOSED,
                breakdown=_breakdown(found),
                balance_nano=found.balance,
                matured_nano=found.matured,
                immature_nano=found.immature,
                reserve_nano=found.reserve,
                risk_score=None if risk is None else risk.score,
                risk_signals=list(risk.signals) if risk else [],
                approvals_needed=1 + (amount > settings.PAYOUT_SECOND_APPROVAL_USD * NANO_PER_USD),
                transfer_group=payout_id,
                created_at=now,
            )
            note(payout_id, Decision.PROPOSE, reason or f"payable on {now:%Y-%m-%d}", actor=actor, now=now)
            if held:
                note(payout_id, Decision.HOLD, _held_for(risk), actor=SYSTEM, now=now)
            audit.record(
                "payout.propose",
                "payout",
                payout_id,
                actor=actor,
                now=now,
                developer_id=found.developer_id,
                detail={"amount_usd": usd(amount), "origin": origin, "period": period, "held": held},
            )
    except IntegrityError as error:
        if not isinstance(error.__cause__, UniqueViolation):
            raise
        raise Conflict(REFUSALS[SkipReason.OPEN_PAYOUT], code="payout_open") from error
    return payout_id


def note(payout_id: str, decision: str, reason: str, *, actor: str, now: datetime, round: int = 1) -> None:
    """Write a decision about a payout down; call it in the transaction of the change."""
    PayoutReview.objects.create(
        id=new_id("prv"), payout_id=payout_id, round=round, decision=decision, reason=reason, reviewer=actor, at=now
    )


def _held_for(risk: Risk | None) -> str:
    assert risk is not None
    return f"risk score {risk.score} is at or above the limit of {settings.PAYOUT_RISK_LIMIT}"


def _check_amount(amount: int, found: Payable) -> None:
    if amount % NANO_PER_CENT:
        raise BadRequest(gettext("A payout is a whole number of cents."), code="invalid_amount", param="amount")
    if amount > found.payable:
        raise BadRequest(
            gettext("Only %(amount)s USD is payable.") % {"amount": usd(found.payable)},
            code="invalid_amount",
            param="amount",
        )
    least = max(found.terms.minimum, NANO_PER_CENT)
    if amount < least:
        raise BadRequest(
            gettext("The least payout is %(amount)s USD.") % {"amount": usd(least)},
            code="below_minimum",
            param="amount",
        )


def _destination(row: PayoutAccount) -> tuple[str, str]:
    if row.rail == Rail.STRIPE:
        account = row.stripe_account_id or ""
        return account, account[-4:]
    details = PayoutDetails.objects.get(pk=row.details_id)
    return details.pk, details.hint


def _breakdown(found: Payable) -> dict[str, Any]:
    """Return how a payout was computed, as it is stored with it: amounts in nano-USD."""
    return {
        "hold_days": found.terms.hold_days,
        "reserve_bps": found.terms.reserve_bps,
        "reserve_days": found.terms.reserve_days,
        "under_reserve": found.under_reserve,
        "payable": found.payable,
        "since": found.since and found.since.isoformat(),
        "by_app": [asdict(share) for share in found.by_app],
        "kinds": [asdict(kind) for kind in found.kinds],
    }


def _by_app(developer_id: str, since: datetime | None, cutoff: datetime) -> tuple[AppShare, ...]:
    lines = earnings_by_app(developer_id, begin=since and since.date(), end=cutoff.date())
    return tuple(AppShare(line.app_id or "", line.calls, line.price, line.developer) for line in lines)


def _paid_until(developer_id: str) -> datetime | None:
    """Return until when the latest payout covered what the developer earned."""
    counted: Collection[str] = set(PayoutStatus.values) - set(_CAME_TO_NOTHING)
    return (
        Payout.objects.filter(developer_id=developer_id, status__in=counted)
        .order_by("-cutoff_at")
        .values_list("cutoff_at", flat=True)
        .first()
    )


def _used(developer_id: str, period: str) -> bool:
    """Tell whether a period has had its payout: one that came to nothing does not count, unless a run proposed it."""
    payouts = Payout.objects.filter(developer_id=developer_id, period=period)
    return (
        payouts.exclude(status__in=_CAME_TO_NOTHING, origin=PayoutOrigin.REQUESTED)
        .exclude(origin=PayoutOrigin.OPERATOR)
        .exists()
    )
