"""Promo codes: made by operators, redeemed once by a wallet."""

import re
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils.translation import gettext as _

from apps.billing.models import Audience, LotKind, PromoCode, PromoRedemption
from apps.billing.services.free_credit import may_take_free_credit
from apps.billing.services.grants import grant_promo, promotions_account
from apps.billing.services.wallet_limits import check_balance_limit
from apps.core.errors import BadRequest, Conflict, Forbidden, NotFound
from apps.core.ids import new_id
from apps.core.money import MAX_NANO, usd
from apps.developers.services import audit
from apps.features.queries import EndUserInfo, app_by_id, end_user_by_id
from apps.ledger.models import AccountKind
from apps.ledger.queries import owner_of
from apps.ledger.services.accounts import lock_wallets

_CODE = re.compile(r"[A-Z0-9][A-Z0-9_-]{3,39}\Z")


def clean_code(text: str) -> str:
    """Return a code as it is kept: in capitals, without spaces. Raises BadRequest (invalid_code)."""
    code = "".join(text.split()).upper()
    if not _CODE.match(code):
        raise BadRequest(_("A code is 4 to 40 letters, digits, - and _."), code="invalid_code", param="code")
    return code


@transaction.atomic
def create_promo_code(
    code: str,
    *,
    amount: int,
    audience: str = Audience.END_USER,
    app_id: str = "",
    developer_id: str = "",
    max_redemptions: int | None = None,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
    credit_days: int | None = None,
    note: str = "",
    now: datetime,
    actor: str,
) -> str:
    """Make a code that gives `amount` nano-USD to each wallet that redeems it, and return its id.

    Raises BadRequest (invalid_code, invalid_promo) and Conflict (already_exists).
    """
    row = PromoCode(
        id=new_id("promo"),
        code=clean_code(code),
        amount_nano=amount,
        audience=audience,
        app_id=app_id,
        developer_id=developer_id,
        max_redemptions=max_redemptions,
        valid_from=valid_from or now,
        valid_until=valid_until,
        credit_days=credit_days,
        note=note,
        created_at=now,
        created_by=actor,
    )
    _check(row)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        raise Conflict(_("There is such a code already."), code="already_exists", param="code") from error
    detail = {"code": row.code, "amount_usd": usd(amount), "max_redemptions": max_redemptions}
    audit.record("promo_code.create", "promo_code", row.id, actor=actor, now=now, detail=detail)
    return row.id


@transaction.atomic
def end_promo_code(promo_id: str, *, now: datetime, actor: str) -> bool:
    """Refuse a code from now on and return whether that is news; what was given stays. Raises NotFound."""
    row = PromoCode.objects.select_for_update().filter(pk=promo_id).first()
    if row is None:
        raise NotFound(_("There is no such promo code."), code="promo_unknown", param="promo_id")
    if row.valid_until is not None and row.valid_until <= now:
        return False
    # One that was to begin later never began.
    row.valid_from, row.valid_until = min(row.valid_from, now - timedelta(microseconds=1)), now
    row.save(update_fields=["valid_from", "valid_until"])
    audit.record("promo_code.end", "promo_code", row.id, actor=actor, now=now)
    return True


@transaction.atomic
def redeem_code(account_id: int, code: str, *, now: datetime, actor: str) -> str:
    """Give a wallet the credit of a promo code and return the lot's id.

    Who calls counts the attempts. Raises NotFound (promo_unknown: also where it is for somebody else), Conflict
    (promo_used by this wallet, promo_exhausted), Forbidden (promo_withheld) and BadRequest (promo_expired,
    balance_limit).
    """
    try:
        row = PromoCode.objects.filter(code=clean_code(code)).first()
    except BadRequest:
        row = None
    kind, owner = owner_of(account_id)
    user = end_user_by_id(owner) if kind == AccountKind.END_USER else None
    if row is None or row.valid_from > now or not _is_for(row, kind, owner, user):
        raise NotFound(_("There is no such promo code."), code="promo_unknown", param="code")
    if user is not None and not may_take_free_credit(user.id, user.app_id, now=now):
        raise Forbidden(_("Promo codes are not available here."), code="promo_withheld")
    # The wallets before the code, as everywhere: what follows is one redemption of a wallet at a time.
    lock_wallets([account_id, promotions_account(now=now)])
    if PromoRedemption.objects.filter(promo_code=row, account_id=account_id).exists():
        raise Conflict(_("This promo code was redeemed already."), code="promo_used", param="code")
    if row.valid_until is not None and row.valid_until <= now:
        raise BadRequest(_("This promo code is no longer valid."), code="promo_expired", param="code")
    check_balance_limit(account_id, row.amount_nano, now=now)
    left = PromoCode.objects.filter(Q(max_redemptions=None) | Q(redemptions__lt=F("max_redemptions")), pk=row.pk)
    if not left.update(redemptions=F("redemptions") + 1):
        raise Conflict(_("This promo code is used up."), code="promo_exhausted", param="code")
    lot_id = grant_promo(
        account_id,
        row.amount_nano,
        kind=LotKind.PROMO,
        reason=f"promo code {row.code}",
        expires_at=now + timedelta(days=row.credit_days) if row.credit_days is not None else None,
        reference=row.id,
        now=now,
        actor=actor,
    )
    PromoRedemption.objects.create(promo_code=row, account_id=account_id, lot_id=lot_id, created_at=now)
    return lot_id


def _is_for(row: PromoCode, kind: str, owner: str, user: EndUserInfo | None) -> bool:
    if kind == AccountKind.DEVELOPER_CREDIT:
        return row.audience == Audience.DEVELOPER and row.developer_id in ("", owner)
    app = app_by_id(user.app_id) if user is not None else None
    if app is None or row.audience != Audience.END_USER:
        return False
    return row.app_id in ("", app.id) and row.developer_id in ("", app.developer_id)


def _check(row: PromoCode) -> None:
    if not 0 < row.amount_nano <= MAX_NANO:
        raise BadRequest(_("The amount must be more than 0."), code="invalid_promo", param="amount")
    if row.audience not in Audience.values or (row.audience == Audience.DEVELOPER and row.app_id):
        raise BadRequest(_("A code of developers is for no app."), code="invalid_promo", param="app_id")
    if row.app_id and app_by_id(row.app_id) is None:
        raise BadRequest(_("There is no such app."), code="invalid_promo", param="app_id")
    if row.max_redemptions is not None and not 0 < row.max_redemptions < 2**31:
        raise BadRequest(_("At least one redemption."), code="invalid_promo", param="max_redemptions")
    if row.valid_until is not None and row.valid_until <= row.valid_from:
        raise BadRequest(_("A code ends after it begins."), code="invalid_promo", param="valid_until")
    if row.credit_days is not None and not 1 <= row.credit_days <= 3650:
        raise BadRequest(_("The credit lasts 1 to 3650 days."), code="invalid_promo", param="credit_days")
