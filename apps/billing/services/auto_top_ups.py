"""Automatic top-ups: a wallet that has less than its threshold is topped up with the saved card."""

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, Sum
from django.utils.translation import gettext

from apps.billing import stripe_api
from apps.billing.models.top_ups import MAX_CENTS, AutoTopUp, OwnerKind, TopUp, TopUpSource, TopUpStatus
from apps.billing.months import month_of, start_of
from apps.billing.queries.top_ups import AutoTopUpInfo, auto_top_up_info
from apps.billing.services import credits, top_ups
from apps.billing.services.auto_failures import pause
from apps.billing.services.customers import Owner, saved_card
from apps.billing.services.notices import notify
from apps.billing.services.top_up_rows import check_amount, insert_automatic
from apps.core.errors import BadRequest, Conflict, FaucetError, NotFound
from apps.core.money import NANO_PER_CENT, usd
from apps.developers.queries import is_active
from apps.developers.services import audit
from apps.features.queries import app_by_id, end_user_by_id
from apps.ledger.queries import Balance, balance, balances

logger = logging.getLogger(__name__)

CAP_REACHED = "auto_top_up_cap"
BALANCE_LIMIT = "auto_top_up_balance_limit"
_CHUNK = 500
# What counts against the month's cap: everything that is paid or may still be.
_FAILED = (TopUpStatus.FAILED, TopUpStatus.EXPIRED, TopUpStatus.CANCELED)


class _NotNow(Exception):
    """Nothing is to be charged now: what was inserted goes back. The owner is told of a `kind`, if any."""

    def __init__(self, kind: str = "", data: Mapping[str, str] | None = None) -> None:
        super().__init__(kind)
        self.kind, self.data = kind, data or {}


@transaction.atomic
def set_auto_top_up(
    account_id: int,
    *,
    threshold: int,
    amount_cents: int,
    monthly_cap_cents: int,
    owner: Owner,
    now: datetime,
    actor: str,
) -> AutoTopUpInfo:
    """Top a wallet up with `amount_cents` whenever less than `threshold` nano-USD is available; ends a pause.

    `monthly_cap_cents` bounds what a month (UTC) may cost, tax aside. Raises Unavailable (payments_off), BadRequest
    (invalid_amount) and Conflict (no_saved_card).
    """
    stripe_api.require_enabled()
    check_amount(amount_cents)
    if threshold <= 0:
        raise BadRequest(gettext("The threshold is more than 0."), code="invalid_amount", param="threshold_usd")
    if not amount_cents <= monthly_cap_cents <= MAX_CENTS:
        raise BadRequest(
            gettext("The monthly cap is at least the amount."), code="invalid_amount", param="monthly_cap_usd"
        )
    saved_card(account_id)
    wanted: dict[str, Any] = {
        "owner_kind": owner.kind,
        "owner_id": owner.id,
        "app_id": owner.app_id,
        "threshold_nano": threshold,
        "amount_cents": amount_cents,
        "monthly_cap_cents": monthly_cap_cents,
        "updated_at": now,
        "actor": actor,
    }
    afresh = {"enabled": True, "failures": 0, "paused_reason": "", "not_before": None}
    row, _ = AutoTopUp.objects.update_or_create(
        account_id=account_id, defaults=wanted | afresh, create_defaults=wanted | {"created_at": now}
    )
    detail = {
        "threshold_usd": usd(threshold),
        "amount_usd": usd(amount_cents * NANO_PER_CENT),
        "monthly_cap_usd": usd(monthly_cap_cents * NANO_PER_CENT),
    }
    audit.record("auto_top_up.set", "wallet", account_id, actor=actor, now=now, detail=detail)
    return auto_top_up_info(row)


@transaction.atomic
def switch_off(account_id: int, *, now: datetime, actor: str) -> None:
    """Top a wallet up no more by itself. Raises NotFound (auto_top_up_not_found)."""
    if not AutoTopUp.objects.filter(pk=account_id).exists():
        raise NotFound(gettext("There is no automatic top-up."), code="auto_top_up_not_found")
    if AutoTopUp.objects.filter(pk=account_id, enabled=True).update(enabled=False, updated_at=now):
        audit.record("auto_top_up.switch_off", "wallet", account_id, actor=actor, now=now)


def pause_without_card(account_id: int, *, now: datetime) -> None:
    """Pause automatic top-ups whose card was forgotten."""
    pause(account_id, reason="no_saved_card", period_key=now.isoformat(), now=now)


def top_up_low(*, now: datetime) -> int:
    """Top up every wallet that is below its owner's threshold, and return how many charges were asked for.

    Walks the rows of those who want it, never all wallets.
    """
    count = 0
    for auto in _low(now):
        try:
            count += _top_up(auto, now=now)
        except stripe_api.StripeUnknown:
            break  # the row stays in `sending`, and the sweeper looks; nobody else is charged into the dark
        except FaucetError as error:
            logger.info("automatic top-up refused", extra={"account": auto.account_id, "problem": error.code})
    return count


def _low(now: datetime) -> Iterator[AutoTopUp]:
    """Yield who has less than their threshold, in the order of accounts."""
    last = 0
    while True:
        due = AutoTopUp.objects.filter(Q(not_before=None) | Q(not_before__lte=now), enabled=True, paused_reason="")
        rows = list(due.filter(account_id__gt=last).order_by("account_id")[:_CHUNK])
        if not rows:
            return
        last = rows[-1].account_id
        funds = balances([row.account_id for row in rows])
        yield from (row for row in rows if _is_low(row, funds[row.account_id]) and _may_spend(row))


def _may_spend(row: AutoTopUp) -> bool:
    """Tell whether an owner can spend at all: the card of somebody who was disabled is not charged."""
    if row.owner_kind == OwnerKind.DEVELOPER_CREDIT:
        return is_active(row.owner_id)
    user, app = end_user_by_id(row.owner_id), app_by_id(row.app_id)
    return user is not None and user.active and app is not None and app.active and is_active(app.developer_id)


def _is_low(row: AutoTopUp, funds: Balance) -> bool:
    return not funds.frozen and funds.posted - funds.held < row.threshold_nano


def _top_up(auto: AutoTopUp, *, now: datetime) -> bool:
    """Charge the card of one wallet if all still holds, and return whether Stripe was asked."""
    try:
        top_up_id = _insert(auto, now=now)
    except IntegrityError:
        return False  # one is open
    except _NotNow as refusal:
        if refusal.kind:
            period = f"{month_of(now):%Y-%m}"
            notify(auto.account_id, refusal.kind, period_key=period, data=refusal.data, now=now)
        return False
    except Conflict as error:
        pause(auto.account_id, reason=error.code, period_key=now.isoformat(), now=now)
        return False
    try:
        top_ups.send(top_up_id, now=now)
    except stripe_api.StripeRefused as error:
        logger.info("automatic top-up failed", extra={"top_up": top_up_id, "problem": error.code})
    return True


@transaction.atomic
def _insert(auto: AutoTopUp, *, now: datetime) -> str:
    """Insert the row of an automatic top-up and return its id.

    The row first: its index lets one through. What is read after that includes the top-up that went before it, so no
    two follow from one low balance.
    """
    row = insert_automatic(auto, now=now)
    present = AutoTopUp.objects.select_for_update().filter(pk=auto.pk, enabled=True, paused_reason="").first()
    if present is None or present.updated_at != auto.updated_at or not _is_low(present, balance(auto.account_id)):
        raise _NotNow
    month = start_of(month_of(now))
    spent = TopUp.objects.filter(account_id=auto.account_id, source=TopUpSource.AUTO, created_at__gte=month)
    total = spent.exclude(status__in=_FAILED).aggregate(sum=Sum("amount_cents"))["sum"] or 0
    if total > auto.monthly_cap_cents:
        raise _NotNow(CAP_REACHED, {"monthly_cap_usd": usd(auto.monthly_cap_cents * NANO_PER_CENT)})
    try:
        credits.check_balance_limit(auto.account_id, row.credit_nano, now=now)
    except BadRequest:
        raise _NotNow(BALANCE_LIMIT, {"amount_usd": usd(row.credit_nano)}) from None
    return row.id
