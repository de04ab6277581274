"""Rows of top-ups: what may be bought is checked, and stored before Stripe is asked."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext

from apps.billing.models.top_ups import AutoTopUp, OwnerKind, TopUp, TopUpSource, TopUpStatus
from apps.billing.queries.top_ups import offer
from apps.billing.services import credits
from apps.billing.services.customers import Owner, saved_card
from apps.billing.services.schedule import FIRST_LOOK
from apps.core.errors import BadRequest, Conflict, Forbidden, NotFound
from apps.core.ids import new_id
from apps.core.money import NANO_PER_CENT
from apps.ledger.queries import balance


def get(top_up_id: str) -> TopUp:
    try:
        return TopUp.objects.get(pk=top_up_id)
    except TopUp.DoesNotExist:
        raise NotFound(gettext("There is no such top-up."), code="top_up_not_found") from None


def check_amount(amount_cents: int) -> None:
    """Raise BadRequest (invalid_amount) for an amount outside what the operator sells."""
    found = offer()
    if not found.min_cents <= amount_cents <= found.max_cents:
        least, most = f"{found.min_cents / 100:.2f}", f"{found.max_cents / 100:.2f}"
        raise BadRequest(
            gettext("A top-up is from %(least)s to %(most)s USD.") % {"least": least, "most": most},
            code="invalid_amount",
            param="amount_usd",
        )


def store(
    account_id: int,
    amount_cents: int,
    owner: Owner,
    key: str,
    content: Mapping[str, Any],
    base_url: str,
    *,
    now: datetime,
    actor: str,
) -> tuple[TopUp, bool]:
    """Return the top-up of a key, and whether this call inserted it; what it may not be is refused before."""
    known = TopUp.objects.filter(account_id=account_id, idempotency_key=key).first()
    if known is not None:
        return _same(known, amount_cents, content), False
    check_amount(amount_cents)
    if balance(account_id).frozen:
        raise Forbidden(gettext("The wallet is frozen."), code="wallet_frozen")
    credits.check_balance_limit(account_id, amount_cents * NANO_PER_CENT, now=now)
    row = _row(account_id, amount_cents, owner, key, now=now, actor=actor)
    if content["source"] == TopUpSource.SAVED_CARD:
        row.payment_method_id = saved_card(account_id)[1].payment_method_id
    row.base_url = base_url
    for name, value in content.items():
        setattr(row, name, value)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        known = TopUp.objects.filter(account_id=account_id, idempotency_key=key).first()
        if known is None:
            raise
        return _same(known, amount_cents, content), False
    return row, True


def _row(account_id: int, amount_cents: int, owner: Owner, key: str, *, now: datetime, actor: str) -> TopUp:
    return TopUp(
        id=new_id("top"),
        account_id=account_id,
        owner_kind=OwnerKind(owner.kind),
        owner_id=owner.id,
        app_id=owner.app_id,
        credit_nano=amount_cents * NANO_PER_CENT,
        amount_cents=amount_cents,
        status=TopUpStatus.SENDING,
        idempotency_key=key,
        next_look_at=now + FIRST_LOOK,
        created_at=now,
        updated_at=now,
        actor=actor,
    )


def _same(known: TopUp, amount_cents: int, content: Mapping[str, Any]) -> TopUp:
    if known.amount_cents != amount_cents or any(getattr(known, name) != value for name, value in content.items()):
        raise Conflict(gettext("This Idempotency-Key was used for another top-up."), code="idempotency_key_reused")
    return known


def insert_automatic(auto: AutoTopUp, *, now: datetime) -> TopUp:
    """Insert an automatic top-up. Raises IntegrityError where one is open, and Conflict (no_saved_card)."""
    _, card = saved_card(auto.account_id)
    owner = Owner(auto.owner_kind, auto.owner_id, auto.app_id)
    row = _row(auto.account_id, auto.amount_cents, owner, new_id("key"), now=now, actor="system:auto_top_up")
    row.source, row.payment_method_id = TopUpSource.AUTO, card.payment_method_id
    row.save(force_insert=True)
    return row
