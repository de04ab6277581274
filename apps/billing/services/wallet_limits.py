"""Limits of a wallet: how much it may hold, how much it may spend a day, and when it counts as low."""

from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext

from apps.billing.models import WalletLimit
from apps.core.errors import BadRequest
from apps.core.money import MAX_NANO, NANO_PER_USD, usd
from apps.developers.services import audit
from apps.ledger.models import AccountKind
from apps.ledger.queries import balance, owner_of
from apps.usage.models import BudgetScope, Period
from apps.usage.services.caps import DEFAULT, default_daily_cap, set_cap

_MAXIMUM = {AccountKind.END_USER: "MAX_BALANCE_USD", AccountKind.DEVELOPER_CREDIT: "MAX_DEVELOPER_BALANCE_USD"}
_SCOPES = {AccountKind.END_USER: BudgetScope.END_USER, AccountKind.DEVELOPER_CREDIT: BudgetScope.DEVELOPER}


def max_balance_of(account_id: int) -> int | None:
    """Return the most that a wallet may hold, in nano-USD, None where nothing limits it. Raises NotFound."""
    limit = _limit(account_id)
    if limit is not None and limit.max_balance_nano is not None:
        return limit.max_balance_nano
    kind, _ = owner_of(account_id)
    setting = _MAXIMUM.get(AccountKind(kind))
    return (getattr(settings, setting) * NANO_PER_USD or None) if setting is not None else None


def check_balance_limit(account_id: int, amount: int, *, now: datetime) -> None:
    """Raise BadRequest (balance_limit) where a credit of `amount` nano-USD takes a wallet above its maximum balance.

    For what its owner asks for: a top-up, a promo code. Two at once may pass together; nothing that was paid is ever
    refused. Raises NotFound (account_not_found).
    """
    most = max_balance_of(account_id)
    held = balance(account_id).posted
    if most is not None and held + amount > most:
        raise BadRequest(
            gettext("The wallet may hold %(amount)s USD at most, and has %(amount2)s USD.")
            % {"amount": usd(most), "amount2": usd(held)},
            code="balance_limit",
            details={"max_balance_usd": usd(most), "balance_usd": usd(held), "room_usd": usd(max(most - held, 0))},
        )


def low_balance_of(account_id: int) -> int:
    """Return below what balance, in nano-USD, a wallet's owner is told; 0: never."""
    limit = _limit(account_id)
    if limit is not None and limit.low_balance_nano is not None:
        return limit.low_balance_nano
    return int(settings.LOW_BALANCE_USD) * NANO_PER_USD


def bind_daily_spend(end_user_id: str, *, now: datetime) -> None:
    """Bind an end user to DAILY_SPEND_USD, unless an operator set a limit for their wallet alone.

    Called when a session is opened, so a new setting binds everybody within a session's life. One query where nothing
    changed.
    """
    default_daily_cap(end_user_id, _daily_default(), now=now)


@transaction.atomic
def set_wallet_limit(
    account_id: int,
    *,
    max_balance: int | None,
    daily_spend: int | None,
    low_balance: int | None,
    now: datetime,
    actor: str,
) -> None:
    """Set where a wallet's limits differ from the settings, in nano-USD; None: as the settings say.

    The daily spend of an end user binds their calls, a developer's all calls of their apps, by a hard budget of the
    operator's. Raises NotFound (account_not_found) and BadRequest (invalid_amount; no_such_limit for other accounts).
    """
    values = {"max_balance_nano": max_balance, "daily_spend_nano": daily_spend, "low_balance_nano": low_balance}
    for name, value in values.items():
        if value is not None and not 0 <= value <= MAX_NANO:
            raise BadRequest(gettext("An amount from 0 on."), code="invalid_amount", param=name)
    if daily_spend == 0:
        raise BadRequest(
            gettext("To stop all spending freeze the wallet."), code="invalid_amount", param="daily_spend_nano"
        )
    kind, owner = owner_of(account_id)
    scope = _SCOPES.get(AccountKind(kind))
    if scope is None:
        raise BadRequest(
            gettext("Only end users and developers have limits."), code="no_such_limit", param="account_id"
        )
    before = _limit(account_id)
    WalletLimit.objects.update_or_create(
        account_id=account_id, defaults={**values, "changed_at": now, "changed_by": actor}
    )
    if daily_spend != (before.daily_spend_nano if before is not None else None):
        is_default = daily_spend is None and scope == BudgetScope.END_USER
        amount = _daily_default() if is_default else daily_spend
        set_cap(scope, owner, Period.DAY, amount, now=now, actor=DEFAULT if is_default else actor)
    audit.record(
        "wallet.set_limit",
        "wallet",
        account_id,
        actor=actor,
        now=now,
        detail={name: None if value is None else usd(value) for name, value in values.items()},
    )


def _daily_default() -> int | None:
    return int(settings.DAILY_SPEND_USD) * NANO_PER_USD or None


def _limit(account_id: int) -> WalletLimit | None:
    return WalletLimit.objects.filter(account_id=account_id).first()
