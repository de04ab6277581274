"""Fees of the catalogue: versions, which apps charge them, who agreed, and one charge for each period.

Nothing is charged that was not shown and acknowledged: a subscription keeps the version that it was agreed to, with its
words, and a trigger compares every charge with it. A wallet never goes below zero for a fee.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Max, Q, QuerySet
from django.utils.translation import gettext

from apps.billing.disclosures import CHINESE, ENGLISH, fee_text, known_language
from apps.billing.models.fees import (
    AppFee,
    Fee,
    FeeCharge,
    FeeInterval,
    FeeRoute,
    FeeSubscription,
    FeeSubscriptionStatus,
    FeeType,
)
from apps.billing.months import months_later
from apps.billing.services.notices import notify
from apps.core.epoch import forget_caller
from apps.core.errors import BadRequest, Conflict, FaucetError, Forbidden, InsufficientFunds, NotFound
from apps.core.ids import new_id
from apps.core.money import MAX_NANO, usd
from apps.developers.services import audit
from apps.features.queries import app_by_id, end_user_by_id
from apps.features.services.inputs import clean_name, clean_slug, storable
from apps.ledger.models import AccountKind
from apps.ledger.queries import balances
from apps.ledger.services.accounts import open_account, open_accounts
from apps.ledger.services.transfers import pay

logger = logging.getLogger(__name__)

KIND = "fee"
OPERATOR = "operator"
SUSPENDED_NOTICE = "fee_suspended"
MAX_TEXT = 2_000
BPS = 10_000
_OPEN = ~Q(status=FeeSubscriptionStatus.ENDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeInput:
    """A version of a fee to write: nano-USD for each interval; what it is for in English and Chinese."""

    name: str
    type: str
    route: str
    amount: int
    interval: str
    developer_share_bps: int = 0
    disclosure_en: str
    disclosure_zh: str


@dataclass(frozen=True, slots=True)
class FeeTold:
    """A fee as an end user is told of it, and how the end user stands to it.

    `amount` in nano-USD. `status` is None where the end user never agreed; then `text` is of the present version, else
    what was agreed to.
    """

    key: str
    name: str
    type: str
    route: str
    required: bool
    amount: int
    interval: str
    text: str
    subscription_id: str | None
    status: str | None
    paid_until: datetime | None


@transaction.atomic
def publish_fee(key: str, given: FeeInput, *, now: datetime, actor: str) -> str:
    """Write the next version of a fee and return its id; what is in force already is not written again.

    Who agreed to an earlier version goes on with that one. Raises BadRequest (invalid_fee).
    """
    clean_slug(key)
    values = _clean(given)
    latest = Fee.objects.select_for_update().filter(key=key).order_by("-version").first()
    if latest is not None and all(getattr(latest, name) == value for name, value in values.items()):
        return latest.id
    number = (Fee.objects.filter(key=key).aggregate(number=Max("version"))["number"] or 0) + 1
    row = Fee(id=new_id("feev"), key=key, version=number, **values, created_at=now, created_by=actor)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        raise Conflict(gettext("This fee was changed meanwhile."), code="already_exists", param="key") from error
    audit.record("fee.publish", "fee", row.id, actor=actor, now=now, detail={"key": key, "version": number})
    return row.id


@transaction.atomic
def charge_in_app(app_id: str, fee_key: str, *, required: bool, now: datetime, actor: str) -> int:
    """Let an app require or offer a fee of the catalogue; return the row's id. Raises NotFound and Conflict."""
    app = app_by_id(app_id)
    if app is None:
        raise NotFound(gettext("There is no such app."), code="app_not_found", param="app_id")
    if not Fee.objects.filter(key=fee_key).exists():
        raise NotFound(gettext("There is no such fee."), code="fee_not_found", param="fee_key")
    row = AppFee(app_id=app_id, fee_key=fee_key, required=required, created_at=now, created_by=actor)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        raise Conflict(gettext("This app has this fee already."), code="already_exists", param="fee_key") from error
    detail = {"app_id": app_id, "fee": fee_key, "required": required}
    audit.record("fee.charge_in_app", "app", app_id, actor=actor, now=now, developer_id=app.developer_id, detail=detail)
    return row.pk


@transaction.atomic
def withdraw_from_app(row_id: int, *, now: datetime, actor: str) -> None:
    """Let an app no longer charge a fee: who agreed to it is not charged again. Again changes nothing."""
    row = AppFee.objects.select_for_update().filter(pk=row_id).first()
    if row is None:
        raise NotFound(gettext("There is no such fee of an app."), code="fee_not_found")
    if row.withdrawn_at is not None:
        return
    row.withdrawn_at = now
    row.save(update_fields=["withdrawn_at"])
    for subscription in _locked(_open().filter(app_id=row.app_id, fee_key=row.fee_key)):
        if subscription.fee.interval == FeeInterval.MONTH:
            _cancel(subscription, now=now)
    detail = {"app_id": row.app_id, "fee": row.fee_key}
    audit.record("fee.withdraw_from_app", "app", row.app_id, actor=actor, now=now, detail=detail)


def fees_for(app_id: str, end_user_id: str, *, language: str) -> tuple[FeeTold, ...]:
    """Return the fees that an app requires or offers, and those that the end user still has from before."""
    charged = {row.fee_key: row for row in AppFee.objects.filter(app_id=app_id, withdrawn_at=None)}
    open_ones = {row.fee_key: row for row in _open().filter(end_user_id=end_user_id).select_related("fee")}
    present = _present({*charged, *open_ones})
    told = []
    for key in sorted({*charged, *open_ones}):
        app_fee, subscription = charged.get(key), open_ones.get(key)
        told.append(_told(present[key], app_fee is not None and app_fee.required, subscription, language))
    return tuple(told)


def subscribe(
    end_user_id: str, app_id: str, fee_key: str, *, amount: int, language: str, now: datetime, actor: str
) -> FeeTold:
    """Agree to a fee at the amount that was shown, in nano-USD, and charge its first period at once.

    Again changes nothing while it is paid; a suspended one is charged now, a cancelled one goes on. Raises NotFound
    (fee_not_found), Conflict (fee_changed: another amount is charged now), InsufficientFunds and Forbidden
    (wallet_frozen): then nothing was agreed to.
    """
    user = end_user_by_id(end_user_id)
    app_fee = (
        AppFee.objects.filter(app_id=app_id, fee_key=fee_key, withdrawn_at=None).first() if storable(fee_key) else None
    )
    app = app_by_id(app_id)
    if user is None or user.app_id != app_id or app is None or app_fee is None:
        raise NotFound(gettext("This app has no such fee."), code="fee_not_found", param="fee_key")
    fee = _present({fee_key})[fee_key]
    language = known_language(language)
    with transaction.atomic():
        found = _locked(_open().filter(end_user_id=end_user_id, fee_key=fee_key))
        row = found[0] if found else None
        expected = fee.amount_nano if row is None else row.amount_nano
        if amount != expected:
            text = _text(fee, app_fee.required, language) if row is None else row.text
            raise Conflict(
                gettext("The fee is %(amount)s USD.") % {"amount": usd(expected)},
                code="fee_changed",
                param="amount_usd",
                details={"fee_key": fee_key, "amount_usd": usd(expected), "text": text},
            )
        if row is None:
            row = FeeSubscription(
                id=new_id("fsub"),
                end_user_id=end_user_id,
                app_id=app_id,
                developer_id=app.developer_id,
                fee=fee,
                fee_key=fee_key,
                amount_nano=fee.amount_nano,
                text=_text(fee, app_fee.required, language),
                language=language,
                acknowledged_at=now,
                status=FeeSubscriptionStatus.ACTIVE.value,
                anchor_at=now,
            )
            try:
                with transaction.atomic():
                    row.save(force_insert=True)
            except IntegrityError as error:
                raise Conflict(gettext("This fee is being agreed to already."), code="already_exists") from error
            _audit("fee.acknowledge", row, now=now, actor=actor, version=fee.version, amount_nano=amount)
            _charge(row, now=now, anew=True)
        elif row.status == FeeSubscriptionStatus.SUSPENDED:
            _charge(row, now=now, anew=True)
        elif row.status == FeeSubscriptionStatus.CANCELLED:
            row.status, row.cancelled_at = FeeSubscriptionStatus.ACTIVE.value, None
            row.save(update_fields=["status", "cancelled_at"])
            _audit("fee.resume", row, now=now, actor=actor)
        forget_caller("end_user", end_user_id)
    return _told(fee, app_fee.required, row, language)


@transaction.atomic
def cancel_fee(subscription_id: str, *, end_user_id: str, now: datetime, actor: str) -> FeeTold:
    """End a fee with what is paid; nothing more is charged. Again changes nothing.

    Raises NotFound and Conflict (fee_paid_once).
    """
    rows = FeeSubscription.objects.filter(pk=subscription_id) if storable(subscription_id) else None
    found = _locked(rows.filter(end_user_id=end_user_id)) if rows is not None else []
    if not found:
        raise NotFound(gettext("There is no such fee."), code="fee_not_found", param="subscription_id")
    row = found[0]
    if row.fee.interval == FeeInterval.ONCE:
        raise Conflict(
            gettext("This fee was paid once and ends by itself: there is nothing to cancel."), code="fee_paid_once"
        )
    if row.status in (FeeSubscriptionStatus.ACTIVE, FeeSubscriptionStatus.SUSPENDED):
        _cancel(row, now=now)
        _audit("fee.cancel", row, now=now, actor=actor)
    app_fee = AppFee.objects.filter(app_id=row.app_id, fee_key=row.fee_key, withdrawn_at=None).first()
    return _told(row.fee, app_fee is not None and app_fee.required, row, row.language)


def charge_due(*, now: datetime, limit: int = 1_000) -> int:
    """Charge the fees whose paid time is over and try the suspended ones again; return how many were charged.

    What a wallet does not cover is suspended with a notice; what was cancelled ends.
    """
    due = _open().exclude(status=FeeSubscriptionStatus.SUSPENDED).filter(paid_until__lte=now).order_by("paid_until")
    wanted = [*due.values_list("pk", flat=True)[:limit], *_covered_again(limit, now=now)]
    charged = 0
    for subscription_id in wanted:
        try:
            charged += _charge_one(subscription_id, now=now)
        except FaucetError as error:
            logger.warning("fee not charged", extra={"subscription": subscription_id, "reason": error.code})
    return charged


def _covered_again(limit: int, *, now: datetime) -> list[str]:
    """Return the suspended fees whose wallets cover them now."""
    rows = list(
        FeeSubscription.objects.filter(status=FeeSubscriptionStatus.SUSPENDED)
        .order_by("pk")
        .values_list("pk", "end_user_id", "amount_nano")
    )
    accounts = open_accounts([(AccountKind.END_USER.value, user) for _, user, _ in rows], now=now)
    funds = balances(list(accounts.values()))
    covered = []
    for subscription_id, user, amount in rows:
        wallet = funds[accounts[AccountKind.END_USER.value, user]]
        if not wallet.frozen and wallet.available >= amount:
            covered.append(subscription_id)
    return covered[:limit]


def _charge_one(subscription_id: str, *, now: datetime) -> bool:
    with transaction.atomic():
        found = _locked(_open().filter(pk=subscription_id))
        if not found:
            return False
        row = found[0]
        suspended = row.status == FeeSubscriptionStatus.SUSPENDED
        if not suspended and (row.paid_until is None or row.paid_until > now):
            return False  # another worker was here
        if row.status == FeeSubscriptionStatus.CANCELLED:
            _end(row, now=now)
            return False
        try:
            with transaction.atomic():
                _charge(row, now=now, anew=suspended)
        except (InsufficientFunds, Forbidden):
            if not suspended:
                _suspend(row, now=now)
            return False
        if suspended:
            forget_caller("end_user", row.end_user_id)
        return True


def _charge(row: FeeSubscription, *, now: datetime, anew: bool) -> None:
    """Charge the next period, in the caller's transaction and under the row's lock.

    `anew`: months are counted from now on, at the first and after a pause, for which nothing is owed; else the period
    follows the one before, however late it is charged.
    """
    begin = now if anew or row.paid_until is None else row.paid_until
    if not anew and months_later(row.anchor_at, row.anchor_periods + 1) <= now:
        begin, anew = now, True  # the charging itself stood still for a month: what was not charged then is not owed
    if anew:
        row.anchor_at, row.anchor_periods = begin, 0
    monthly = row.fee.interval == FeeInterval.MONTH
    until = months_later(row.anchor_at, row.anchor_periods + 1) if monthly else None
    row.periods, row.anchor_periods = row.periods + 1, row.anchor_periods + 1
    share = row.amount_nano * row.fee.developer_share_bps // BPS
    owners = (
        (AccountKind.END_USER.value, row.end_user_id),
        (AccountKind.PLATFORM.value, OPERATOR),
        (AccountKind.DEVELOPER.value, row.developer_id),
    )
    accounts = open_accounts(owners, now=now)
    parts = {accounts[owners[1]]: row.amount_nano - share, accounts[owners[2]]: share}
    transaction_id = pay(
        accounts[owners[0]],
        {account: part for account, part in parts.items() if part},
        kind=KIND,
        idempotency_key=f"fee:{row.id}:{row.periods}",
        now=now,
        actor="system",
        memo={"fee": row.fee_key, "version": row.fee.version, "app_id": row.app_id, "subscription": row.id},
    )
    row.status, row.suspended_at, row.paid_until = FeeSubscriptionStatus.ACTIVE.value, None, until
    row.save(update_fields=["status", "suspended_at", "paid_until", "periods", "anchor_at", "anchor_periods"])
    FeeCharge.objects.create(
        id=new_id("fchg"),
        subscription=row,
        period=row.periods,
        amount_nano=row.amount_nano,
        developer_nano=share,
        transaction_id=transaction_id,
        period_start=begin,
        period_end=until,
        created_at=now,
    )


def _suspend(row: FeeSubscription, *, now: datetime) -> None:
    row.refresh_from_db()
    row.status, row.suspended_at = FeeSubscriptionStatus.SUSPENDED.value, now
    row.save(update_fields=["status", "suspended_at"])
    account = open_account(kind=AccountKind.END_USER, owner_id=row.end_user_id, now=now)
    data = {"fee": row.fee_key, "amount_usd": usd(row.amount_nano), "subscription_id": row.id}
    notify(account, SUSPENDED_NOTICE, period_key=f"{row.id}:{row.periods}", data=data, now=now)
    forget_caller("end_user", row.end_user_id)


def _cancel(row: FeeSubscription, *, now: datetime) -> None:
    row.cancelled_at = now
    if row.status == FeeSubscriptionStatus.SUSPENDED:
        _end(row, now=now)
        return
    row.status = FeeSubscriptionStatus.CANCELLED.value
    row.save(update_fields=["status", "cancelled_at"])


def _end(row: FeeSubscription, *, now: datetime) -> None:
    row.status, row.ended_at, row.cancelled_at = FeeSubscriptionStatus.ENDED.value, now, row.cancelled_at or now
    row.save(update_fields=["status", "ended_at", "cancelled_at"])
    forget_caller("end_user", row.end_user_id)


def _open() -> QuerySet[FeeSubscription]:
    return FeeSubscription.objects.filter(_OPEN)


def _locked(rows: QuerySet[FeeSubscription]) -> Sequence[FeeSubscription]:
    return list(rows.select_for_update(of=("self",)).select_related("fee").order_by("pk"))


def _present(keys: set[str]) -> dict[str, Fee]:
    """Return the version in force of each fee."""
    rows = Fee.objects.filter(key__in=keys).order_by("key", "-version").distinct("key")
    return {row.key: row for row in rows}


def _text(fee: Fee, required: bool, language: str) -> str:
    about = {ENGLISH: fee.disclosure_en, CHINESE: fee.disclosure_zh}
    return fee_text(
        about, amount=fee.amount_nano, interval=fee.interval, route=fee.route, required=required, language=language
    )


def _told(fee: Fee, required: bool, row: FeeSubscription | None, language: str) -> FeeTold:
    agreed = fee if row is None else row.fee
    return FeeTold(
        key=agreed.key,
        name=agreed.name,
        type=agreed.type,
        route=agreed.route,
        required=required,
        amount=agreed.amount_nano,
        interval=agreed.interval,
        text=_text(fee, required, known_language(language)) if row is None else row.text,
        subscription_id=None if row is None else row.id,
        status=None if row is None else str(row.status),
        paid_until=None if row is None else row.paid_until,
    )


def _clean(given: FeeInput) -> dict[str, object]:
    for name, value, known in (
        ("type", given.type, FeeType.values),
        ("route", given.route, FeeRoute.values),
        ("interval", given.interval, FeeInterval.values),
    ):
        if value not in known:
            raise _invalid(f"{name} is one of {', '.join(known)}.", name)
    if not 0 < given.amount <= MAX_NANO:
        raise _invalid("A fee is more than 0.", "amount")
    if not 0 <= given.developer_share_bps <= BPS:
        raise _invalid("A share is 0 to 10000 basis points.", "developer_share_bps")
    texts = {"disclosure_en": given.disclosure_en.strip(), "disclosure_zh": given.disclosure_zh.strip()}
    for name, text in texts.items():
        if not text or len(text) > MAX_TEXT or not storable(text):
            raise _invalid("What a fee is for is told in English and in Chinese.", name)
    return {
        "name": clean_name(given.name),
        "type": given.type,
        "route": given.route,
        "amount_nano": given.amount,
        "interval": given.interval,
        "developer_share_bps": given.developer_share_bps,
        **texts,
    }


def _invalid(message: str, param: str) -> BadRequest:
    return BadRequest(message, code="invalid_fee", param=param)


def _audit(action: str, row: FeeSubscription, *, now: datetime, actor: str, **detail: object) -> None:
    audit.record(
        action,
        "fee_subscription",
        row.id,
        actor=actor,
        now=now,
        developer_id=row.developer_id,
        detail={"fee": row.fee_key, "end_user_id": row.end_user_id, **detail},
    )
