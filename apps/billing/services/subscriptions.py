"""Subscriptions to plans through Stripe: bought, changed, cancelled, followed.

Stripe's subscription is the truth, and every path (webhook, sweeper, a look by the developer) asks for its present
state and writes that down, so that they may come in any order and any number. A row is written before Stripe is asked.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils.translation import gettext

from apps.billing import stripe_api
from apps.billing.models.plans import LIVE, Plan, PlanPrice, Subscription, SubscriptionStatus
from apps.billing.queries.plans import SubscriptionInfo, subscription_info
from apps.billing.services.customers import Owner, ensure_customer
from apps.billing.services.events import Later
from apps.billing.services.marks import marked, marks
from apps.billing.services.plans import apply_plan, end
from apps.core.errors import BadRequest, Conflict, FaucetError, NotFound
from apps.core.ids import new_id
from apps.developers.queries import developer
from apps.developers.services import audit
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account

logger = logging.getLogger(__name__)

MARK = "plan_subscription"
# What Stripe's own words mean here; a subscription whose first payment is open is still pending.
_STATUS = {
    "active": SubscriptionStatus.ACTIVE.value,
    "trialing": SubscriptionStatus.ACTIVE.value,
    "past_due": SubscriptionStatus.PAST_DUE.value,
    "unpaid": SubscriptionStatus.PAST_DUE.value,
    "paused": SubscriptionStatus.PAST_DUE.value,
    "incomplete": SubscriptionStatus.PENDING.value,
    "incomplete_expired": SubscriptionStatus.ENDED.value,
    "canceled": SubscriptionStatus.ENDED.value,
}
# A payment page lives for a day at most; one whose opening is unknown is asked for again after a while, to be closed.
PAGE_LIVES = timedelta(hours=23)
ASK_AGAIN = timedelta(hours=1)
LOOK_EVERY = timedelta(hours=1)
_MOST_READS = 5


def subscribe_to(developer_id: str, plan_key: str, *, base_url: str, now: datetime, actor: str) -> SubscriptionInfo:
    """Subscribe a developer to a plan, or change the plan it pays for, and return the subscription.

    A new one is pending until it is paid at its `checkout_url`; asked for again, it is the same page. A change takes
    effect at once: of a dearer plan the difference is paid now, of a cheaper one it is credited to the next invoice.
    Call it outside any transaction. Raises Unavailable (payments_off), NotFound (plan_not_found), BadRequest
    (plan_not_for_sale), Conflict (subscription_exists), CardDeclined, StripeRefused and StripeUnknown.
    """
    stripe_api.require_enabled()
    plan = Plan.objects.filter(key=plan_key, active=True).first() if "\0" not in plan_key else None
    if plan is None:
        raise NotFound(gettext("There is no such plan on offer."), code="plan_not_found", param="plan")
    if plan.price_cents == 0:
        raise BadRequest(
            gettext("This plan costs nothing: cancel yours to have it."), code="plan_not_for_sale", param="plan"
        )
    row = _live(developer_id)
    if row is not None and row.manual:
        raise Conflict(
            gettext("The operator of this instance gave you your plan: ask there."), code="subscription_exists"
        )
    if row is not None and row.status != SubscriptionStatus.PENDING:
        return _change(row, plan, now=now, actor=actor)
    if row is not None and row.plan_key != plan.key:
        _close_page(row, "changed", now=now)
        row = _live(developer_id)
        if row is not None:  # it was paid meanwhile
            return _change(row, plan, now=now, actor=actor)
    if row is None:
        row = _insert(developer_id, plan, base_url, now=now, actor=actor)
    return subscription_info(row, checkout_url=_open_page(row, plan, now=now))


def cancel(developer_id: str, *, now: datetime, actor: str) -> SubscriptionInfo:
    """Let a developer's subscription end with its period, and one that is not paid yet at once.

    Raises NotFound (subscription_not_found), Conflict (subscription_exists: the operator's), and as Stripe does.
    """
    row = _own(developer_id)
    if row.status == SubscriptionStatus.PENDING and row.stripe_subscription_id is None:
        _close_page(row, "cancelled", now=now)
        return _shown(row.id)
    _update(row, {"cancel_at_period_end": True}, now=now)
    _audit("subscription.cancel", row, now=now, actor=actor)
    return _shown(row.id)


def resume(developer_id: str, *, now: datetime, actor: str) -> SubscriptionInfo:
    """Let a subscription that was cancelled go on after its period after all. Raises as `cancel` does."""
    row = _own(developer_id)
    if row.stripe_subscription_id is None:
        raise Conflict(gettext("This subscription is not paid yet."), code="subscription_pending")
    _update(row, {"cancel_at_period_end": False}, now=now)
    _audit("subscription.resume", row, now=now, actor=actor)
    return _shown(row.id)


def settle_subscription(developer_id: str, *, now: datetime) -> SubscriptionInfo | None:
    """Return a developer's subscription, having asked Stripe about one that is pending; None where there is none.

    Where Stripe is out of reach it is told as it is known here.
    """
    row = _live(developer_id)
    if row is None:
        return None
    if row.status == SubscriptionStatus.PENDING and stripe_api.enabled():
        try:
            _look(row, now=now)
        except stripe_api.StripeUnknown:
            pass
    return _shown(row.id)


def settle_due(*, now: datetime, limit: int = 50) -> int:
    """Ask Stripe about pages that nobody came back from and periods that ended unheard of; return how many changed."""
    waiting = Q(status=SubscriptionStatus.PENDING) | Q(manual=False, period_end__lte=now - LOOK_EVERY)
    due = Subscription.objects.filter(waiting, status__in=LIVE).filter(
        Q(looked_at=None, created_at__lte=now - timedelta(minutes=2)) | Q(looked_at__lte=now - LOOK_EVERY)
    )
    changed = 0
    for row in due.order_by("created_at")[:limit]:
        Subscription.objects.filter(pk=row.pk).update(looked_at=now)
        try:
            changed += _look(row, now=now)
        except stripe_api.StripeUnknown:
            break  # Stripe is out of reach: the others wait as well
        except FaucetError as error:
            logger.warning("subscription not settled", extra={"subscription": row.id, "problem": error.message})
    return changed


def look(row_id: str, *, now: datetime) -> bool:
    """Ask Stripe how a subscription stands, and tell whether something changed. Raises NotFound, and as Stripe does."""
    row = Subscription.objects.filter(pk=row_id, manual=False).first()
    if row is None:
        raise NotFound(gettext("This subscription is none of Stripe's."), code="subscription_not_found")
    return _look(row, now=now)


def follow(stripe_subscription_id: str, *, now: datetime) -> bool:
    """Ask Stripe for a subscription's present state and write it down; tell whether it is one of ours.

    Raises Later where it is marked as ours and not known here, StripeRefused and StripeUnknown.
    """
    for _ in range(_MOST_READS):
        # Read before Stripe is asked: what somebody wrote meanwhile may be newer than what Stripe said to us.
        known = Subscription.objects.filter(stripe_subscription_id=stripe_subscription_id).first()
        revision = known.revision if known is not None else None
        found = stripe_api.call(lambda api: api.v1.subscriptions.retrieve(stripe_subscription_id)).to_dict()
        row_id = known.id if known is not None else marked(found, MARK)
        if row_id is None:
            return False
        if _write(row_id, found, revision, now=now):
            return True
    raise Later(f"{stripe_subscription_id} keeps changing")


def ensure_price(plan: Plan, *, now: datetime) -> str:
    """Return the id of a plan's price at Stripe, made if there is none for what the plan costs now."""
    if plan.stripe_price_id:
        PlanPrice.objects.get_or_create(
            stripe_price_id=plan.stripe_price_id,
            defaults={"plan_key": plan.key, "price_cents": plan.price_cents, "created_at": now},
        )
        return plan.stripe_price_id
    params: dict[str, Any] = {
        "currency": "usd",
        "unit_amount": plan.price_cents,
        "recurring": {"interval": "month"},
        "tax_behavior": "exclusive",
        "product_data": {"name": f"{plan.name} plan"},
        "metadata": marks(plan=plan.key),
    }
    key = f"plan:{marks()['modelfaucet']}:{plan.key}:{plan.price_cents}:{plan.name}"
    made = stripe_api.call(
        lambda api: api.v1.prices.create(params, {"idempotency_key": key[:255]})  # type: ignore[arg-type]
    )
    PlanPrice.objects.get_or_create(
        stripe_price_id=made.id, defaults={"plan_key": plan.key, "price_cents": plan.price_cents, "created_at": now}
    )
    Plan.objects.filter(pk=plan.pk, stripe_price_id="", price_cents=plan.price_cents).update(stripe_price_id=made.id)
    return made.id


def subscription_row(stripe_subscription_id: str, found: Mapping[str, Any]) -> Subscription | None:
    """Return our row of a subscription at Stripe, by its id or by the mark in `found`; None if it is none of ours.

    Raises Later where it is marked as ours and not known here.
    """
    row = Subscription.objects.filter(stripe_subscription_id=stripe_subscription_id).first()
    row_id = marked(found, MARK)
    if row is None and row_id is not None:
        row = Subscription.objects.filter(pk=row_id).first()
        if row is None:
            raise Later(f"{row_id} is not known here yet")
    return row


def _change(row: Subscription, plan: Plan, *, now: datetime, actor: str) -> SubscriptionInfo:
    if row.plan_key == plan.key:
        return subscription_info(row)
    before = Plan.objects.filter(key=row.plan_key).first()
    dearer = before is None or plan.price_cents > before.price_cents
    price = ensure_price(plan, now=now)
    found = stripe_api.call(lambda api: api.v1.subscriptions.retrieve(_stripe_id(row))).to_dict()
    changes = {
        "items": [{"id": found["items"]["data"][0]["id"], "price": price}],
        "cancel_at_period_end": False,
        "proration_behavior": "always_invoice" if dearer else "create_prorations",
        # What is not paid is not changed.
        "payment_behavior": "error_if_incomplete" if dearer else "allow_incomplete",
    }
    _update(row, changes, now=now)
    _audit("subscription.change", row, now=now, actor=actor, to=plan.key)
    return _shown(row.id)


def _update(row: Subscription, changes: dict[str, Any], *, now: datetime) -> None:
    """Change a subscription at Stripe and write down what it is then, also where the outcome is not known."""
    Subscription.objects.filter(pk=row.pk).update(changes=F("changes") + 1)
    row.refresh_from_db(fields=["changes"])
    key = {"idempotency_key": f"{row.id}:change:{row.changes}"}
    stripe_api.call(lambda api: api.v1.subscriptions.update(_stripe_id(row), changes, key))  # type: ignore[arg-type]
    follow(_stripe_id(row), now=now)


def _insert(developer_id: str, plan: Plan, base_url: str, *, now: datetime, actor: str) -> Subscription:
    if developer(developer_id) is None:
        raise NotFound(gettext("There is no such developer."), code="developer_not_found", param="developer_id")
    row = Subscription(
        id=new_id("plan"),
        developer_id=developer_id,
        plan_key=plan.key,
        status=SubscriptionStatus.PENDING.value,
        base_url=base_url[:500],
        created_at=now,
        created_by=actor,
        changed_at=now,
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            _audit("subscription.start", row, now=now, actor=actor)
    except IntegrityError as error:
        raise Conflict(gettext("A subscription is being made already."), code="subscription_exists") from error
    return row


def _open_page(row: Subscription, plan: Plan, *, now: datetime) -> str | None:
    """Return the address of a pending subscription's payment page; the same row, the same page."""
    _find_page(row, now=now)
    if row.stripe_session_id:
        found = stripe_api.call(lambda api: api.v1.checkout.sessions.retrieve(row.stripe_session_id)).to_dict()
        if found["status"] == "open":
            return str(found["url"])
        if found["status"] == "complete":
            follow(_text(found["subscription"]), now=now)
            return None
        _end_pending(row, "the payment page expired", now=now)
        raise Conflict(gettext("The payment page has expired: ask again."), code="subscription_pending")
    customer = _customer_of(row, now=now)
    mark = marks(**{MARK: row.id})
    page = f"{row.base_url}/console/{row.developer_id}/plan"
    params: dict[str, Any] = {
        "mode": "subscription",
        "customer": customer,
        "client_reference_id": row.id,
        "metadata": mark,
        "subscription_data": {"metadata": mark},
        "line_items": [{"price": ensure_price(plan, now=now), "quantity": 1}],
        "success_url": f"{page}?subscription=done",
        "cancel_url": f"{page}?subscription=canceled",
        "expires_at": int((row.created_at + PAGE_LIVES).timestamp()),
    }
    if settings.STRIPE_AUTOMATIC_TAX:
        params |= {"automatic_tax": {"enabled": True}, "customer_update": {"address": "auto"}}
    made = stripe_api.call(
        lambda api: api.v1.checkout.sessions.create(params, {"idempotency_key": row.id})  # type: ignore[arg-type]
    ).to_dict()
    Subscription.objects.filter(pk=row.pk).update(stripe_session_id=made["id"])
    row.stripe_session_id = made["id"]
    return str(made["url"]) if made["url"] else None


def _find_page(row: Subscription, *, now: datetime) -> None:
    """Look for the page of a subscription that was asked for before, its answer lost. Nobody has its address then."""
    if row.stripe_session_id or not row.stripe_customer_id:
        return
    params: dict[str, Any] = {"customer": row.stripe_customer_id, "limit": 100}

    def look(api: Any) -> str:
        for session in api.v1.checkout.sessions.list(params).auto_paging_iter():
            if marked(session.to_dict(), MARK) == row.id:
                return str(session.id)
        return ""

    row.stripe_session_id = stripe_api.call(look)
    if row.stripe_session_id:
        Subscription.objects.filter(pk=row.pk).update(stripe_session_id=row.stripe_session_id)


def _customer_of(row: Subscription, *, now: datetime) -> str:
    """Return the developer's customer at Stripe, noted on the row before a page is asked for."""
    if not row.stripe_customer_id:
        account_id = open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=row.developer_id, now=now)
        owner = Owner(AccountKind.DEVELOPER_CREDIT.value, row.developer_id)
        row.stripe_customer_id = ensure_customer(account_id, owner=owner, now=now)
        Subscription.objects.filter(pk=row.pk).update(stripe_customer_id=row.stripe_customer_id)
    return row.stripe_customer_id


def _close_page(row: Subscription, reason: str, *, now: datetime) -> None:
    """End a pending subscription so that nobody can pay for it any more; one that was paid is followed instead."""
    _find_page(row, now=now)
    if row.stripe_session_id:
        try:
            stripe_api.call(lambda api: api.v1.checkout.sessions.expire(row.stripe_session_id))
        except stripe_api.StripeRefused:
            found = stripe_api.call(lambda api: api.v1.checkout.sessions.retrieve(row.stripe_session_id)).to_dict()
            if found["status"] == "complete":
                follow(_text(found["subscription"]), now=now)
                return
    _end_pending(row, reason, now=now)


@transaction.atomic
def _end_pending(row: Subscription, reason: str, *, now: datetime) -> None:
    found = Subscription.objects.select_for_update().get(pk=row.pk)
    if found.status == SubscriptionStatus.PENDING:
        end(found, reason, now=now)


def _look(row: Subscription, *, now: datetime) -> bool:
    """Ask Stripe how a subscription stands, by what is known of it; tell whether something changed."""
    if row.stripe_subscription_id is not None:
        return follow(row.stripe_subscription_id, now=now)
    if not row.stripe_session_id:
        if now - row.created_at < ASK_AGAIN:
            return False
        _close_page(row, "the payment page was never opened", now=now)
        return True
    found = stripe_api.call(lambda api: api.v1.checkout.sessions.retrieve(row.stripe_session_id)).to_dict()
    if found["status"] == "complete":
        return follow(_text(found["subscription"]), now=now)
    if found["status"] == "expired":
        _end_pending(row, "the payment page expired", now=now)
        return True
    return False


@transaction.atomic
def _write(row_id: str, found: Mapping[str, Any], revision: int | None, *, now: datetime) -> bool:
    """Write down how a subscription stands at Stripe; False where the row changed since it was read (`revision`)."""
    row = Subscription.objects.select_for_update().filter(pk=row_id).first()
    if row is None:
        raise Later(f"{row_id} is not known here yet")
    if revision is not None and row.revision != revision:
        return False
    if row.stripe_subscription_id not in (None, found["id"]):
        logger.error("second subscription", extra={"subscription": row_id, "stripe": found["id"]})
        return True
    status = _STATUS.get(found["status"], SubscriptionStatus.PAST_DUE.value)
    revives = row.status == SubscriptionStatus.ENDED and status != SubscriptionStatus.ENDED
    if revives and _live(row.developer_id) is not None:
        logger.error("subscription beside another", extra={"subscription": row_id, "stripe": found["id"]})
        return True
    item = found["items"]["data"][0]
    price = PlanPrice.objects.filter(pk=item["price"]["id"]).first()
    row.stripe_subscription_id = found["id"]
    row.stripe_customer_id = _text(found["customer"])
    row.stripe_status = found["status"]
    row.plan_key = price.plan_key if price is not None else row.plan_key
    row.period_start = _moment(item["current_period_start"])
    row.period_end = _moment(item["current_period_end"])
    row.cancel_at_period_end = bool(found["cancel_at_period_end"] or found.get("cancel_at"))
    if status == SubscriptionStatus.PAST_DUE:
        row.past_due_since = row.past_due_since or now
    elif status == SubscriptionStatus.ACTIVE:
        row.past_due_since = None
    if status == SubscriptionStatus.ENDED and row.ended_at is None:
        row.ended_at, row.end_reason = now, found["status"]
    elif status != SubscriptionStatus.ENDED:
        row.ended_at, row.end_reason = None, ""
    row.status, row.changed_at, row.looked_at = status, now, now
    row.revision += 1
    row.save()
    apply_plan(row.developer_id, now=now)
    return True


def _live(developer_id: str) -> Subscription | None:
    return Subscription.objects.filter(developer_id=developer_id, status__in=LIVE).first()


def _own(developer_id: str) -> Subscription:
    stripe_api.require_enabled()
    row = _live(developer_id)
    if row is None:
        raise NotFound(gettext("There is no subscription."), code="subscription_not_found")
    if row.manual:
        raise Conflict(
            gettext("The operator of this instance gave you your plan: ask there."), code="subscription_exists"
        )
    return row


def _shown(row_id: str) -> SubscriptionInfo:
    return subscription_info(Subscription.objects.get(pk=row_id))


def _stripe_id(row: Subscription) -> str:
    assert row.stripe_subscription_id is not None
    return row.stripe_subscription_id


def _text(value: Any) -> str:
    """Return the id of an object that Stripe names or, where it was expanded, gives."""
    return str(value["id"] if isinstance(value, Mapping) else value)


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _audit(action: str, row: Subscription, *, now: datetime, actor: str, **detail: Any) -> None:
    audit.record(
        action,
        "subscription",
        row.id,
        actor=actor,
        now=now,
        developer_id=row.developer_id,
        detail={"plan": row.plan_key, **detail},
    )
