"""Rows that risk is judged by, written as they are after the fact. Amounts are nano-USD."""

from datetime import datetime, timedelta
from itertools import count
from typing import Any

from apps.billing.models.credits import CreditLot, LotDraw
from apps.billing.models.disputes import Dispute
from apps.billing.models.risk import AppHour, Fingerprint
from apps.billing.models.top_ups import BillingCustomer, TopUp
from apps.billing.services.fingerprints import note_fingerprint
from apps.core.ids import new_id
from apps.core.money import NANO_PER_CENT, NANO_PER_USD
from apps.features.models import EndUser
from apps.usage.models import UsageEvent
from tests.usage.factories import Desk

_transactions = count(1_000_000)


def end_user(desk: Desk, name: str = "", *, anonymous: bool = False, at: datetime) -> tuple[str, int]:
    """Make an end user of the app who is as old as `at` says; return (id, account)."""
    from apps.features.services.end_users import ensure_end_user
    from apps.ledger.services.accounts import open_account

    user = ensure_end_user(app_id=desk.world.app_id, external_id=name or new_id("name"), anonymous=anonymous, now=at)
    return user, open_account(kind="end_user", owner_id=user, now=at)


def age(end_user_id: str, at: datetime) -> None:
    EndUser.objects.filter(pk=end_user_id).update(created_at=at)


def calls(
    desk: Desk,
    number: int,
    at: datetime,
    *,
    spend: int = 0,
    user: tuple[str, int] | None = None,
    **row: Any,
) -> None:
    """Store `number` calls of an end user (alice unless given) at a moment, which cost `spend` together."""
    end_user_id, account_id = user or (desk.world.end_user_id, desk.world.account_id)
    values: dict[str, Any] = {
        "app_id": desk.world.app_id,
        "developer_id": desk.world.developer_id,
        "end_user_id": end_user_id,
        "feature_key": "default",
        "principal_id": "sess_1",
        "account_id": account_id,
        "endpoint": "chat.completions",
        "stream": False,
        "route_mode": "platform",
        "provider": "double-0",
        "credential_id": "cred_1",
        "requested_model": "m",
        "served_model": "m",
        "outcome": "finished",
        "charged": True,
        "status": 200,
        "input_tokens": 100,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": 100,
        "reasoning_tokens": 0,
        "estimated": False,
        "terms_id": desk.terms.id,
        "infra_nano": 0,
        "payment_bps": 0,
        "price_nano": spend // number,
        "cost_nano": 0,
        "attempts": [],
        "started_at": at,
        "duration_ms": 10,
        "effective_at": at,
        "created_at": at,
        **row,
    }
    UsageEvent.objects.bulk_create(UsageEvent(request_id=new_id("req"), **values) for _ in range(number))


def hour(desk: Desk, at: datetime, *, calls: int, spend: int = 0, failed: int = 0, **row: Any) -> None:
    """Store what the app's calls came to in one hour."""
    whose = {"app_id": desk.world.app_id, "developer_id": desk.world.developer_id, **row}
    AppHour.objects.create(hour=at, calls=calls, failed=failed, spend_nano=spend, **whose)


def seen(
    desk: Desk, end_user_id: str, at: datetime, *, address: str = "192.0.2.1", agent: str = "Browser/1", **more: Any
) -> None:
    """Note that an end user came from a client."""
    app_id = more.pop("app_id", desk.world.app_id)
    note_fingerprint(end_user_id, app_id, address=address, user_agent=agent, now=at, **more)


def top_up(account_id: int, at: datetime, *, cents: int = 1000, status: str = "paid", refunded: int = 0) -> str:
    """Store a top-up of an account."""
    paid = status == "paid"
    return TopUp.objects.create(
        id=new_id("top"),
        account_id=account_id,
        owner_kind="end_user",
        owner_id="usr_1",
        source="checkout",
        credit_nano=cents * NANO_PER_CENT,
        amount_cents=cents,
        refunded_cents=refunded,
        status=status,
        idempotency_key=new_id("key"),
        transaction_id=next(_transactions) if paid else None,
        paid_at=at if paid else None,
        created_at=at,
        updated_at=at,
        actor="test",
    ).id


def dispute(account_id: int, at: datetime, *, status: str = "open") -> None:
    """Store a dispute of a top-up of an account."""
    Dispute.objects.create(
        id=new_id("dsp"),
        stripe_dispute_id=new_id("dp"),
        top_up_id=new_id("top"),
        account_id=account_id,
        status=status,
        stripe_status="needs_response",
        amount_cents=1000,
        credit_cents=1000,
        transaction_id=next(_transactions) if status in ("open", "lost") else None,
        lost_at=at if status == "lost" else None,
        opened_at=at,
        created_at=at,
        updated_at=at,
    )


def drawn(account_id: int, kind: str, amount: int, at: datetime) -> None:
    """Store credit of a kind of which an account has spent `amount`."""
    lot = given(account_id, kind, at, amount=amount + NANO_PER_USD, left=NANO_PER_USD)
    LotDraw.objects.create(lot=lot, amount_nano=amount, kind="spent", created_at=at)


def given(
    account_id: int, kind: str, at: datetime, *, amount: int = NANO_PER_USD, left: int = NANO_PER_USD
) -> CreditLot:
    """Store credit of a kind that an account was given."""
    return CreditLot.objects.create(
        id=new_id("lot"),
        account_id=account_id,
        kind=kind,
        amount_nano=amount,
        remaining_nano=left,
        balance_nano=amount,
        transaction_id=next(_transactions),
        created_at=at,
    )


def card(account_id: int, at: datetime, *, last4: str = "4242") -> None:
    """Store the card that is kept for an account."""
    BillingCustomer.objects.create(
        account_id=account_id,
        idempotency_key=new_id("cus"),
        customer_id=new_id("cus"),
        payment_method_id="pm_1",
        card_brand="visa",
        card_last4="4242",  # as many cards have
        card_fingerprint=f"fp_{last4}",
        card_exp_month=4,
        card_exp_year=2031,
        created_at=at,
        updated_at=at,
    )


def clients() -> set[tuple[str, str]]:
    """Return every (fingerprint, network) that is stored."""
    return set(Fingerprint.objects.values_list("fingerprint", "network"))


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)
