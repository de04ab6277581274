"""Included allowance: credit that each end user of an app has every month, paid from the app's allowance account."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext

from apps.billing.models import AppAllowance, LotKind
from apps.billing.months import month_after, month_of, start_of
from apps.billing.queries.credits import credits_of
from apps.billing.services.free_credit import may_take_free_credit
from apps.billing.services.lots import PAID_FOR, add_lot, draw, take_paid
from apps.core.errors import BadRequest, Conflict, Forbidden, InsufficientFunds, NotFound
from apps.core.money import MAX_NANO, usd
from apps.developers.services import audit
from apps.features.queries import app_by_id, end_user_by_id
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_id, balance, transaction_id
from apps.ledger.services.accounts import lock_wallets, open_account
from apps.ledger.services.transfers import transfer

GRANTED, GRANTED_BEFORE, EXHAUSTED, REFUSED = "granted", "granted_before", "exhausted", "refused"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What became of an allowance of `amount` nano-USD: granted, granted_before, exhausted or refused.

    Exhausted: the app's account has not got it. Refused by `may_take_free_credit`: users of one client had too much,
    or an operator said so.
    """

    state: str
    amount: int
    expires_at: datetime | None


@transaction.atomic
def ensure_allowance(end_user_id: str, *, now: datetime) -> Allowance | None:
    """Give an end user the app's allowance of this month (UTC), once, and tell what became of it.

    None where the app includes none, and for anonymous devices, of which anyone may make up any number. Without funds
    nothing is given and nothing fails; the next session tries again. It locks the account from which all users of the
    app draw: call it last in a transaction.
    """
    user = end_user_by_id(end_user_id)
    if user is None or user.anonymous:
        return None
    amount = monthly_allowance(user.app_id)
    if amount == 0:
        return None
    month = month_of(now)
    end = start_of(month_after(month))
    key = f"allowance:{end_user_id}:{month:%Y-%m}"
    if transaction_id(key) is not None:
        return Allowance(GRANTED_BEFORE, amount, end)
    if not may_take_free_credit(end_user_id, user.app_id, now=now):
        return Allowance(REFUSED, amount, end)
    account_id = open_account(kind=AccountKind.END_USER, owner_id=end_user_id, now=now)
    state = give_allowance(user.app_id, account_id, amount, key=key, expires_at=end, now=now)
    return Allowance(state, amount, end)


@transaction.atomic
def give_allowance(
    app_id: str, account_id: int, amount: int, *, key: str, expires_at: datetime | None, now: datetime
) -> str:
    """Move `amount` nano-USD from an app's allowance account to a wallet, as a lot, once a key; tell what became of it.

    granted; granted_before, also where the amount was another then; exhausted, where the app's account has not got it
    or is frozen.
    """
    origin = open_account(kind=AccountKind.APP_ALLOWANCE, owner_id=app_id, now=now)
    try:
        posted = transfer(
            from_account_id=origin,
            to_account_id=account_id,
            amount=amount,
            idempotency_key=key,
            now=now,
            actor="gateway",
            kind="allowance",
            memo={"app_id": app_id},
            require_available=True,
        )
    except Conflict:
        return GRANTED_BEFORE  # a twin of this request was first, before the app's allowance was changed
    except InsufficientFunds:
        return EXHAUSTED
    except Forbidden as error:
        if error.code != "wallet_frozen":
            raise
        return EXHAUSTED
    add_lot(
        account_id,
        kind=LotKind.ALLOWANCE,
        amount=amount,
        transaction_id=posted,
        expires_at=expires_at,
        origin_account_id=origin,
        reference=key,
        now=now,
    )
    return GRANTED


def monthly_allowance(app_id: str) -> int:
    """Return what each end user of an app has included a month, in nano-USD."""
    return monthly_allowances([app_id]).get(app_id, 0)


def monthly_allowances(app_ids: Collection[str]) -> dict[str, int]:
    """Return what end users of several apps have included a month, in nano-USD; apps without one are left out."""
    return dict(AppAllowance.objects.filter(pk__in=app_ids).values_list("app_id", "monthly_nano"))


@transaction.atomic
def set_monthly_allowance(app_id: str, amount: int, *, now: datetime, actor: str) -> None:
    """Have each end user of an app get `amount` nano-USD a month; 0: nothing. Who has this month's keeps it.

    Raises BadRequest (invalid_amount) and NotFound (app_not_found).
    """
    if not 0 <= amount <= MAX_NANO:
        raise BadRequest(gettext("An allowance is 0 or more."), code="invalid_amount", param="monthly_allowance")
    app = app_by_id(app_id)
    if app is None:
        raise NotFound(gettext("There is no such app."), code="app_not_found", param="app_id")
    before = monthly_allowance(app_id)
    if amount == before:
        return
    AppAllowance.objects.update_or_create(
        app_id=app_id, defaults={"monthly_nano": amount, "changed_at": now, "changed_by": actor}
    )
    audit.record(
        "app.set_monthly_allowance",
        "app",
        app_id,
        actor=actor,
        now=now,
        developer_id=app.developer_id,
        detail={"from_usd": usd(before), "to_usd": usd(amount)},
    )


def fundable(developer_id: str) -> int:
    """Return how much of a developer's prepaid credit may go to allowances: what was paid for and is not held."""
    account = account_id(AccountKind.DEVELOPER_CREDIT, developer_id)
    if account is None:
        return 0
    funds = balance(account)
    paid = sum(credit.remaining for credit in credits_of(account) if credit.kind in PAID_FOR)
    return max(min(paid, funds.posted - funds.held), 0)


@transaction.atomic
def fund_allowance(app_id: str, amount: int, *, idempotency_key: str, now: datetime, actor: str) -> int:
    """Move `amount` nano-USD of a developer's prepaid credit to their app's allowance account; return the transaction.

    Only what was paid for: of promotions a developer could earn, through users of its own. The same key again moves
    nothing more. Raises BadRequest (invalid_amount), NotFound (app_not_found), InsufficientFunds, Forbidden
    (wallet_frozen) and Conflict (idempotency_key_reused).
    """
    developer_id, own, pool = _accounts(app_id, now=now)
    key = f"allowance_funds:{app_id}:{idempotency_key}"
    lock_wallets([own, pool])
    draw(own, now=now)
    most = fundable(developer_id)
    if amount > most and transaction_id(key) is None:
        raise InsufficientFunds(
            gettext("Only credit that was paid for funds allowances: %(amount)s USD now.") % {"amount": usd(most)}
        )
    posted = transfer(
        from_account_id=own,
        to_account_id=pool,
        amount=amount,
        idempotency_key=key,
        now=now,
        actor=actor,
        kind="allowance_funds",
        memo={"app_id": app_id},
    )
    take_paid(own, amount, transaction_id=posted, now=now)
    return posted


@transaction.atomic
def withdraw_allowance(app_id: str, amount: int, *, idempotency_key: str, now: datetime, actor: str) -> int:
    """Move `amount` nano-USD that an app's allowance account has back to its developer; return the transaction.

    It comes back as credit of the kind other, which is not refunded. The same key again moves nothing more. Raises as
    `fund_allowance` does.
    """
    _, own, pool = _accounts(app_id, now=now)
    posted = transfer(
        from_account_id=pool,
        to_account_id=own,
        amount=amount,
        idempotency_key=f"allowance_withdrawal:{app_id}:{idempotency_key}",
        now=now,
        actor=actor,
        kind="allowance_return",
        memo={"app_id": app_id},
    )
    add_lot(own, kind=LotKind.OTHER, amount=amount, transaction_id=posted, reference=app_id, now=now)
    return posted


def _accounts(app_id: str, *, now: datetime) -> tuple[str, int, int]:
    """Return an app's developer, the account of its prepaid credit, and the app's allowance account."""
    app = app_by_id(app_id)
    if app is None:
        raise NotFound(gettext("There is no such app."), code="app_not_found", param="app_id")
    own = open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=app.developer_id, now=now)
    return app.developer_id, own, open_account(kind=AccountKind.APP_ALLOWANCE, owner_id=app_id, now=now)
