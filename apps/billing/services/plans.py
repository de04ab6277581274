"""Plans: their catalogue, which of them binds a developer, and what of it is used.

A developer has the plan of its live subscription, else DEFAULT_PLAN, else none and so no limits. What the plan lets it
do is written to the features room, where calls, keys and manifests ask for it.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from apps.billing.models.plans import (
    IN_FORCE,
    LIVE,
    MAX_CENTS,
    GateAttempt,
    Plan,
    Subscription,
    SubscriptionStatus,
)
from apps.billing.queries.plans import grace_ends_at
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.ids import new_id
from apps.developers.queries import developer
from apps.developers.services import audit
from apps.features.entitlements import EVERYBODY, Entitlements, all_entitlements, entitlements_of
from apps.features.gates import ADVANCED_ROUTING, CUSTOM_RULES, GATES, PROMPT_DEBUG_LOG, SEMANTIC_CACHE, VALUE_PRICING
from apps.features.services.entitlements import PlanUpgradeRequired, set_entitlements
from apps.features.services.inputs import clean_slug, storable
from apps.usage.services.prompt_logs import bound_prompt_logs

logger = logging.getLogger(__name__)

# Nothing is limited beyond what a column holds.
MAX_LIMIT = 10**15
MAX_DAYS = 36_500
_CHANGEABLE = (
    *("name", "description", "price_cents", "tokens_per_month", "max_virtual_keys", "retention_days", "sla"),
    *("features", "position", "active"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInput:
    """A plan to write: cents a month, and limits of which None is without one."""

    name: str
    price_cents: int
    tokens_per_month: int | None
    max_virtual_keys: int | None
    retention_days: int | None
    sla: str = ""
    features: Sequence[str] = ()
    description: str = ""
    position: int = 0
    active: bool = True


_PRO = (CUSTOM_RULES, ADVANCED_ROUTING, SEMANTIC_CACHE, PROMPT_DEBUG_LOG)
# What an operator begins with; every figure is then the operator's own.
SHIPPED = {
    "free": PlanInput(
        name="Free",
        price_cents=0,
        tokens_per_month=10_000,
        max_virtual_keys=1,
        retention_days=7,
        position=1,
    ),
    "basic": PlanInput(
        name="Basic",
        price_cents=9_900,
        tokens_per_month=100_000,
        max_virtual_keys=1,
        retention_days=7,
        position=2,
    ),
    "pro": PlanInput(
        name="Pro",
        price_cents=29_900,
        tokens_per_month=1_000_000,
        max_virtual_keys=5,
        retention_days=90,
        sla="99.5 %",
        features=_PRO,
        position=3,
    ),
    "enterprise": PlanInput(
        name="Enterprise",
        price_cents=99_900,
        tokens_per_month=None,
        max_virtual_keys=None,
        retention_days=None,
        sla="99.95 %",
        features=(*_PRO, VALUE_PRICING),
        position=4,
    ),
}


def seed_plans(*, now: datetime, actor: str = "system") -> tuple[str, ...]:
    """Write the shipped plans that are not there yet and return their keys; those that are there stay as they are."""
    made = []
    for key, given in SHIPPED.items():
        if not Plan.objects.filter(key=key).exists():
            try:
                create_plan(key, given, now=now, actor=actor)
            except Conflict:
                continue  # somebody seeds too
            made.append(key)
    return tuple(made)


@transaction.atomic
def create_plan(key: str, given: PlanInput, *, now: datetime, actor: str) -> None:
    """Add a plan. Raises BadRequest (invalid_plan) and Conflict (already_exists)."""
    values = _clean({name: getattr(given, name) for name in _CHANGEABLE})
    try:
        with transaction.atomic():
            Plan(key=clean_slug(key), **values, created_at=now, changed_at=now, changed_by=actor).save(
                force_insert=True
            )
    except IntegrityError as error:
        raise Conflict(_("There is a plan with this key."), code="already_exists", param="key") from error
    audit.record("plan.create", "plan", key, actor=actor, now=now, detail=values)
    apply_plans(now=now)


@transaction.atomic
def update_plan(key: str, *, now: datetime, actor: str, **changes: Any) -> None:
    """Change a plan, for its present subscribers too; a new price is for new subscriptions and changes of plan.

    Raises BadRequest (invalid_plan) and NotFound (plan_not_found).
    """
    row = Plan.objects.select_for_update().filter(key=key).first()
    if row is None:
        raise NotFound(_("There is no such plan."), code="plan_not_found", param="plan")
    values = {name: value for name, value in _clean(changes).items() if getattr(row, name) != value}
    if not values:
        return
    before = {name: getattr(row, name) for name in values}
    for name, value in values.items():
        setattr(row, name, value)
    if "price_cents" in values:
        row.stripe_price_id = ""
    row.changed_at, row.changed_by = now, actor
    row.save()
    audit.record("plan.update", "plan", key, actor=actor, now=now, detail={"before": before, "after": values})
    apply_plans(now=now)


@transaction.atomic
def assign_plan(developer_id: str, plan_key: str, *, now: datetime, actor: str) -> str:
    """Give a developer a plan that an operator settles outside of Stripe, and return the subscription's id.

    It takes the place of another one that an operator gave. Raises NotFound (developer_not_found, plan_not_found) and
    Conflict (subscription_exists: one that is paid through Stripe).
    """
    if developer(developer_id) is None:
        raise NotFound(_("There is no such developer."), code="developer_not_found", param="developer_id")
    if not Plan.objects.filter(key=plan_key).exists():
        raise NotFound(_("There is no such plan."), code="plan_not_found", param="plan")
    row = Subscription.objects.select_for_update().filter(developer_id=developer_id, status__in=LIVE).first()
    if row is not None and not row.manual:
        raise Conflict(_("This developer pays for a plan through Stripe."), code="subscription_exists")
    if row is not None and row.plan_key == plan_key:
        return row.id
    if row is not None:
        end(row, "changed", now=now)
    made = Subscription(
        id=new_id("plan"),
        developer_id=developer_id,
        plan_key=plan_key,
        status=SubscriptionStatus.ACTIVE.value,
        manual=True,
        period_start=now,
        created_at=now,
        created_by=actor,
        changed_at=now,
    )
    try:
        with transaction.atomic():
            made.save(force_insert=True)
    except IntegrityError as error:
        raise Conflict(_("This developer has a plan already."), code="subscription_exists") from error
    _audit("subscription.assign", made, now=now, actor=actor)
    apply_plan(developer_id, now=now)
    return made.id


@transaction.atomic
def end_manual(subscription_id: str, *, now: datetime, actor: str) -> None:
    """End a plan that an operator gave. Raises NotFound, and Conflict (subscription_not_manual)."""
    row = Subscription.objects.select_for_update().filter(pk=subscription_id).first()
    if row is None:
        raise NotFound(_("There is no such subscription."), code="subscription_not_found")
    if not row.manual:
        raise Conflict(_("This subscription is ended at Stripe."), code="subscription_not_manual")
    if row.status != SubscriptionStatus.ENDED:
        end(row, "ended by the operator", now=now)
        _audit("subscription.end", row, now=now, actor=actor)
        apply_plan(row.developer_id, now=now)


def end(row: Subscription, reason: str, *, now: datetime) -> None:
    """Write down that a subscription is over, in the caller's transaction."""
    row.status = SubscriptionStatus.ENDED.value
    row.ended_at = row.changed_at = now
    row.end_reason = reason
    row.save(update_fields=["status", "ended_at", "changed_at", "end_reason"])


def plan_in_force(developer_id: str, *, now: datetime) -> Plan | None:
    """Return the plan that binds a developer, None where there is none and so no limit."""
    row = Subscription.objects.filter(developer_id=developer_id, status__in=IN_FORCE).first()
    key = _key_in_force(row, now=now)
    return Plan.objects.filter(key=key).first() if key else None


def plan_among(plans: Sequence[Plan], row: Subscription | None, *, now: datetime) -> Plan | None:
    """Return which of all `plans` binds a developer whose subscription that is not over is `row`."""
    key = _key_in_force(row if row is not None and row.status in IN_FORCE else None, now=now)
    return next((plan for plan in plans if plan.key == key), None)


@transaction.atomic
def apply_plan(developer_id: str, *, now: datetime) -> None:
    """Put in force what a developer's plan lets it do, as of now. Manifests in force stay as they are."""
    _put_in_force(developer_id, plan_in_force(developer_id, now=now), _plans(), now=now)


@transaction.atomic
def apply_plans(*, now: datetime) -> None:
    """Put in force what plans let their developers do: for all who have a plan of their own, and for all others."""
    plans = _plans()
    by_key = {plan.key: plan for plan in plans}
    if settings.DEFAULT_PLAN and settings.DEFAULT_PLAN not in by_key:
        logger.error("DEFAULT_PLAN names no plan: nothing is limited", extra={"plan": settings.DEFAULT_PLAN})
    default = by_key.get(settings.DEFAULT_PLAN)
    present = all_entitlements()
    live = {row.developer_id: row for row in Subscription.objects.filter(status__in=IN_FORCE)}
    if present.get(EVERYBODY) != _entitlements(default, plans):
        _put_in_force(EVERYBODY, default, plans, now=now)
    for developer_id in sorted({*present, *live} - {EVERYBODY}):
        plan = by_key.get(_key_in_force(live.get(developer_id), now=now))
        if present.get(developer_id) != _entitlements(plan, plans):
            _put_in_force(developer_id, plan, plans, now=now)


@contextmanager
def noting_gates(developer_id: str, *, subject: str, now: datetime, actor: str) -> Iterator[None]:
    """Write down what is refused within because the developer's plan does not include it, and raise it again."""
    try:
        yield
    except PlanUpgradeRequired as refused:
        note_attempts(developer_id, refused.gates, subject=subject, now=now, actor=actor)
        raise


def note_attempts(developer_id: str, gates: Collection[str], *, subject: str, now: datetime, actor: str) -> None:
    """Write down that a developer tried what its plan does not include."""
    plan = entitlements_of(developer_id)
    GateAttempt.objects.bulk_create(
        GateAttempt(
            developer_id=developer_id,
            plan_key=plan.plan if plan is not None else "",
            gate=gate,
            subject=subject[:100],
            actor=actor,
            created_at=now,
        )
        for gate in gates
    )


def next_plan(plan: Plan, plans: Sequence[Plan], gate: str | None = None) -> Plan | None:
    """Return the next plan that is offered above this one: by tokens, or the first that includes `gate`."""
    for other in plans:
        if not other.active or other.position <= plan.position:
            continue
        if gate is not None:
            if gate in other.features:
                return other
        elif other.tokens_per_month is None or other.tokens_per_month > (plan.tokens_per_month or 0):
            return other
    return None


def _plans() -> list[Plan]:
    return list(Plan.objects.order_by("position", "key"))


def _key_in_force(row: Subscription | None, *, now: datetime) -> str:
    if row is None:
        return str(settings.DEFAULT_PLAN)
    grace = grace_ends_at(row)
    return row.plan_key if grace is None or now < grace else str(settings.DEFAULT_PLAN)


def _entitlements(plan: Plan | None, plans: Sequence[Plan]) -> Entitlements | None:
    if plan is None:
        return None
    upgrade = next_plan(plan, plans)
    return Entitlements(
        plan=plan.key,
        upgrade=upgrade.key if upgrade is not None else "",
        tokens_per_month=plan.tokens_per_month,
        max_virtual_keys=plan.max_virtual_keys,
        retention_days=plan.retention_days,
        gates=tuple(plan.features),
    )


def _put_in_force(developer_id: str, plan: Plan | None, plans: Sequence[Plan], *, now: datetime) -> None:
    given = _entitlements(plan, plans)
    changed = set_entitlements(developer_id, given, now=now)
    if changed and given is not None and given.retention_days is not None:
        if developer_id == EVERYBODY:
            bound_prompt_logs(given.retention_days, except_for=tuple(all_entitlements()))
        else:
            bound_prompt_logs(given.retention_days, developer_id=developer_id)


def _clean(values: dict[str, Any]) -> dict[str, Any]:
    if unknown := set(values) - set(_CHANGEABLE):
        raise _invalid(f"Cannot be changed: {', '.join(sorted(unknown))}.", min(unknown))
    clean = dict(values)
    for name in ("name", "sla", "description"):
        if name in clean:
            clean[name] = clean[name].strip()
            if not storable(clean[name]) or len(clean[name]) > (100 if name == "name" else 2_000):
                raise _invalid(f"{name} is too long.", name)
    if clean.get("name") == "":
        raise _invalid("A plan needs a name.", "name")
    if "price_cents" in clean and not 0 <= clean["price_cents"] <= MAX_CENTS:
        raise _invalid("A price is not negative.", "price_cents")
    for name, least, most in (
        ("tokens_per_month", 0, MAX_LIMIT),
        ("max_virtual_keys", 0, 1_000_000),
        ("retention_days", 1, MAX_DAYS),
    ):
        value = clean.get(name)
        if value is not None and not least <= value <= most:
            raise _invalid(f"{name} takes {least} to {most}, or nothing for no limit.", name)
    if "features" in clean:
        unknown_features = sorted(set(clean["features"]) - set(GATES))
        if unknown_features:
            raise _invalid(f"There is no feature {unknown_features[0]}.", "features")
        clean["features"] = [gate for gate in GATES if gate in clean["features"]]
    return clean


def _invalid(message: str, param: str) -> BadRequest:
    return BadRequest(message, code="invalid_plan", param=param)


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
