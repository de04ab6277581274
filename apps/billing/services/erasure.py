"""An end user who leaves: what is erased, what ends, and what stays because the books must.

Erased: provider keys, prompts and answers that were kept, hashes of clients, the saved card, what bridges and local
endpoints told of the user's machines. Ended: sessions, bridges, limits, automatic top-ups, fees, and the end user, whom
no call names again. Stays, under our own id and no name: the ledger, calls with their prices, payments and refunds,
consents to fees. The keyed hash of the app's own user id stays, too, so that free credit is not given twice.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from apps.billing import stripe_api
from apps.billing.models import Fingerprint
from apps.billing.models.fees import FeeInterval, FeeSubscription, FeeSubscriptionStatus
from apps.billing.models.top_ups import AutoTopUp, Refund, RefundStatus, TopUp, TopUpStatus
from apps.billing.services.customers import card_of, forget_card
from apps.billing.services.fees import cancel_fee
from apps.core.errors import Conflict, NotFound
from apps.core.money import usd
from apps.developers.services import audit
from apps.features.queries import app_by_id, end_user_by_id
from apps.features.services.bridges import erase_local_of
from apps.features.services.end_users import disable_end_user
from apps.features.services.page_links import revoke_sessions_of
from apps.ledger.models import AccountKind
from apps.ledger.queries import Balance, balance
from apps.ledger.services.accounts import freeze_wallet, lock_wallets, open_account
from apps.usage.services.erasure import erase_usage_of
from apps.vault.models import OwnerClass
from apps.vault.services.erasure import erase_credentials_of

_PAYING = (TopUpStatus.SENDING, TopUpStatus.PENDING)
_GOING_BACK = (RefundStatus.REQUESTED, RefundStatus.SENDING)


@dataclass(frozen=True, slots=True)
class Departure:
    """What an end user's leaving came to: credit given up (nano-USD), keys erased, sessions revoked."""

    forfeited: int
    keys: int
    sessions: int


def erase_end_user(end_user_id: str, *, forfeit: bool, now: datetime, actor: str) -> Departure:
    """Erase an end user for good. Again changes nothing.

    What is left in the wallet is given up by `forfeit` and stays there, frozen. Raises NotFound (end_user_not_found),
    Conflict: call_under_way, payment_under_way, balance_left; and where the saved card cannot be forgotten at Stripe
    what `forget_card` raises: then nothing is erased.
    """
    user = end_user_by_id(end_user_id)
    if user is None:
        raise NotFound(_("There is no such end user."), code="end_user_not_found", param="end_user_id")
    account = open_account(kind=AccountKind.END_USER, owner_id=end_user_id, now=now)
    _check(account, balance(account), forfeit=forfeit)
    # First of all and outside the transaction: Stripe is asked. A card that is gone is asked for again at most.
    if card_of(account) is not None and stripe_api.enabled():
        forget_card(account, now=now, actor=actor)
    app = app_by_id(user.app_id)
    assert app is not None
    return _erase(end_user_id, account, app.developer_id, forfeit=forfeit, now=now, actor=actor)


def _check(account: int, funds: Balance, *, forfeit: bool) -> None:
    """Raise Conflict where money is still on its way, or left and not given up."""
    if funds.held:
        raise Conflict(_("A call is still running. Try again in a minute."), code="call_under_way")
    paying = TopUp.objects.filter(account_id=account, status__in=_PAYING).exists()
    if paying or Refund.objects.filter(account_id=account, status__in=_GOING_BACK).exists():
        raise Conflict(_("A payment or refund is on its way. Wait until it has arrived."), code="payment_under_way")
    if funds.posted > 0 and not forfeit:
        raise Conflict(
            _("There is credit left: have it refunded, or give it up."),
            code="balance_left",
            param="forfeit",
            details={"balance_usd": usd(funds.posted)},
        )


@transaction.atomic
def _erase(end_user_id: str, account: int, developer_id: str, *, forfeit: bool, now: datetime, actor: str) -> Departure:
    funds = lock_wallets([account])[account]
    _check(account, funds, forfeit=forfeit)
    AutoTopUp.objects.filter(pk=account, enabled=True).update(enabled=False, updated_at=now)
    open_fees = FeeSubscription.objects.filter(
        end_user_id=end_user_id, status__in=[FeeSubscriptionStatus.ACTIVE, FeeSubscriptionStatus.SUSPENDED]
    ).exclude(fee__interval=FeeInterval.ONCE)
    for subscription_id in list(open_fees.order_by("id").values_list("id", flat=True)):
        cancel_fee(subscription_id, end_user_id=end_user_id, now=now, actor=actor)
    Fingerprint.objects.filter(end_user_id=end_user_id).delete()
    keys = erase_credentials_of(OwnerClass.END_USER.value, end_user_id, now=now, actor=actor)
    erased = erase_usage_of(end_user_id, now=now, actor=actor)
    disable_end_user(end_user_id=end_user_id, now=now, actor=actor)
    sessions = revoke_sessions_of(end_user_id, now=now, actor=actor)
    bridges = erase_local_of(end_user_id, now=now, actor=actor)
    forfeited = max(funds.posted, 0)
    if forfeited:
        freeze_wallet(account, now=now, actor=actor, reason="its owner left and gave it up")
    audit.record(
        "end_user.erase",
        "end_user",
        end_user_id,
        actor=actor,
        now=now,
        developer_id=developer_id,
        detail={
            "forfeited_usd": usd(forfeited),
            "provider_keys": keys,
            "sessions": sessions,
            "bridges": bridges,
            "limits": erased.limits,
            "logged_prompts": erased.prompts,
        },
    )
    return Departure(forfeited, keys, sessions)
