"""Plans: what developers pay by the month, and what they may do for it."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from apps.core.money import MAX_NANO, NANO_PER_USD

MAX_CENTS = MAX_NANO // NANO_PER_USD * 100


class SubscriptionStatus(models.TextChoices):
    """Pending: its payment page is open. Past due: in force until the time of grace is over."""

    PENDING = "pending", _("waiting for its payment")
    ACTIVE = "active", _("active")
    PAST_DUE = "past_due", _("past due")
    ENDED = "ended", _("ended")


LIVE = (SubscriptionStatus.PENDING.value, SubscriptionStatus.ACTIVE.value, SubscriptionStatus.PAST_DUE.value)
IN_FORCE = (SubscriptionStatus.ACTIVE.value, SubscriptionStatus.PAST_DUE.value)


class Plan(models.Model):
    """What a plan costs a month and lets its developer do; a limit that is empty is none."""

    key = models.SlugField(_("key"), max_length=40, primary_key=True)
    name = models.CharField(_("name"), max_length=100)
    description = models.TextField(_("description"), blank=True)
    price_cents = models.BigIntegerField(_("price a month in cents"))
    tokens_per_month = models.BigIntegerField(_("tokens per month"), null=True, blank=True)
    max_virtual_keys = models.IntegerField(_("virtual keys"), null=True, blank=True)
    retention_days = models.IntegerField(_("retention in days"), null=True, blank=True)
    sla = models.CharField(_("service level"), max_length=200, blank=True)
    features = ArrayField(
        models.CharField(max_length=40), verbose_name=_("features included"), default=list, blank=True
    )
    stripe_price_id = models.CharField(
        _("Stripe price"), max_length=100, blank=True, help_text=_("Empty: made with the first subscription.")
    )
    position = models.IntegerField(
        _("position"), default=0, help_text=_("Plans are listed and upgraded in this order.")
    )
    active = models.BooleanField(_("active"), default=True, help_text=_("Whether it can be subscribed to."))
    created_at = models.DateTimeField(_("created at"))
    changed_at = models.DateTimeField(_("changed at"))
    changed_by = models.CharField(_("changed by"), max_length=100)

    class Meta:
        db_table = "plans"
        verbose_name = _("plan")
        verbose_name_plural = _("plans")
        constraints = [
            models.CheckConstraint(condition=Q(price_cents__gte=0, price_cents__lte=MAX_CENTS), name="plans_price"),
            models.CheckConstraint(
                condition=(Q(tokens_per_month=None) | Q(tokens_per_month__gte=0))
                & (Q(max_virtual_keys=None) | Q(max_virtual_keys__gte=0))
                & (Q(retention_days=None) | Q(retention_days__gte=1)),
                name="plans_limits",
            ),
            models.CheckConstraint(condition=~Q(key="") & ~Q(name=""), name="plans_named"),
        ]

    def __str__(self) -> str:
        return self.name


class PlanPrice(models.Model):
    """A price object at Stripe and the plan it is of: subscriptions keep theirs when the plan gets another."""

    stripe_price_id = models.CharField(_("Stripe price"), max_length=100, primary_key=True)
    plan_key = models.CharField(_("plan"), max_length=40)
    price_cents = models.BigIntegerField(_("price a month in cents"))
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "plan_prices"
        verbose_name = _("price of a plan at Stripe")
        verbose_name_plural = _("prices of plans at Stripe")

    def __str__(self) -> str:
        return self.stripe_price_id


class Subscription(models.Model):
    """A developer's plan: paid through Stripe, or given by an operator where it names no subscription of Stripe's."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    developer_id = models.CharField(_("developer"), max_length=40)
    plan_key = models.CharField(_("plan"), max_length=40)
    status = models.CharField(_("status"), max_length=10, choices=SubscriptionStatus)
    manual = models.BooleanField(_("given by an operator"), default=False)
    stripe_session_id = models.CharField(_("Checkout session"), max_length=200, blank=True)
    stripe_subscription_id = models.CharField(_("subscription at Stripe"), max_length=100, null=True, blank=True)
    stripe_customer_id = models.CharField(_("customer at Stripe"), max_length=100, blank=True)
    stripe_status = models.CharField(_("status at Stripe"), max_length=30, blank=True)
    period_start = models.DateTimeField(_("period from"), null=True, blank=True)
    period_end = models.DateTimeField(_("period to"), null=True, blank=True)
    cancel_at_period_end = models.BooleanField(_("ends with its period"), default=False)
    past_due_since = models.DateTimeField(_("past due since"), null=True, blank=True)
    changes = models.IntegerField(_("changes asked of Stripe"), default=0)
    revision = models.IntegerField(_("revision"), default=0)
    base_url = models.CharField(_("return address"), max_length=500, blank=True)
    looked_at = models.DateTimeField(_("looked at Stripe"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(_("created by"), max_length=100)
    changed_at = models.DateTimeField(_("changed at"))
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    end_reason = models.CharField(_("reason of the end"), max_length=100, blank=True)

    class Meta:
        db_table = "subscriptions"
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")
        constraints = [
            models.CheckConstraint(condition=Q(status__in=SubscriptionStatus.values), name="subscriptions_status"),
            models.CheckConstraint(
                condition=Q(status="ended", ended_at__isnull=False) | (~Q(status="ended") & Q(ended_at=None)),
                name="subscriptions_ended",
            ),
            models.CheckConstraint(
                condition=~Q(status="past_due") | Q(past_due_since__isnull=False), name="subscriptions_past_due"
            ),
            models.CheckConstraint(
                condition=Q(manual=False) | Q(stripe_subscription_id=None), name="subscriptions_manual"
            ),
            models.CheckConstraint(
                condition=Q(manual=True) | Q(status__in=("pending", "ended")) | Q(stripe_subscription_id__isnull=False),
                name="subscriptions_paid_for",
            ),
            models.UniqueConstraint(
                fields=["developer_id"], condition=Q(status__in=LIVE), name="subscriptions_one_live"
            ),
            models.UniqueConstraint(
                fields=["stripe_subscription_id"],
                condition=Q(stripe_subscription_id__isnull=False),
                name="subscriptions_stripe",
            ),
        ]
        indexes = [models.Index(fields=["developer_id", "-created_at"], name="subscriptions_developer")]

    def __str__(self) -> str:
        return self.id


class SubscriptionInvoice(models.Model):
    """An invoice of a subscription, keyed by Stripe's own id; its money is posted once, when it is paid."""

    id = models.CharField(_("invoice at Stripe"), max_length=100, primary_key=True)
    subscription_id = models.CharField(_("subscription"), max_length=40)
    developer_id = models.CharField(_("developer"), max_length=40)
    paid = models.BooleanField(_("paid"))
    amount_nano = models.BigIntegerField(_("amount without tax"))
    tax_nano = models.BigIntegerField(_("tax"))
    transaction_id = models.BigIntegerField(_("ledger transaction"), null=True, blank=True, unique=True)
    failures = models.IntegerField(_("failed payments"), default=0)
    created_at = models.DateTimeField(_("created at"))
    paid_at = models.DateTimeField(_("paid at"), null=True, blank=True)

    class Meta:
        db_table = "subscription_invoices"
        verbose_name = _("invoice of a subscription")
        verbose_name_plural = _("invoices of subscriptions")
        constraints = [
            models.CheckConstraint(
                condition=Q(amount_nano__gte=0, tax_nano__gte=0), name="subscription_invoices_money"
            ),
            models.CheckConstraint(
                condition=Q(paid=False, transaction_id=None, paid_at=None)
                | (
                    Q(paid=True, paid_at__isnull=False)
                    & (Q(transaction_id__isnull=False) | Q(amount_nano=0, tax_nano=0))
                ),
                name="subscription_invoices_paid",
            ),
        ]
        indexes = [
            models.Index(fields=["developer_id", "-created_at"], name="subscription_invoices_dev"),
            models.Index(
                fields=["paid_at"], condition=models.Q(paid_at__isnull=False), name="subscription_invoices_paid_at"
            ),
        ]

    def __str__(self) -> str:
        return self.id


class PlanUse(models.Model):
    """Tokens of a developer's month (UTC), as measured: what is settled once, and with it the last minutes anew."""

    developer_id = models.CharField(_("developer"), max_length=40)
    month = models.DateField(_("month"))
    settled_tokens = models.BigIntegerField(_("tokens counted for good"), default=0)
    counted_until = models.DateTimeField(_("counted for good until"))
    tokens = models.BigIntegerField(_("tokens"), default=0)
    measured_at = models.DateTimeField(_("measured at"))
    closed_at = models.DateTimeField(_("closed at"), null=True, blank=True, help_text=_("Counted whole, afterwards."))

    class Meta:
        db_table = "plan_uses"
        verbose_name = _("use of a plan")
        verbose_name_plural = _("use of plans")
        constraints = [
            models.UniqueConstraint(fields=["developer_id", "month"], name="plan_uses_once"),
            models.CheckConstraint(
                condition=Q(settled_tokens__gte=0, tokens__gte=F("settled_tokens")), name="plan_uses_tokens"
            ),
        ]
        indexes = [
            models.Index(fields=["month", "developer_id"], condition=Q(closed_at=None), name="plan_uses_open"),
        ]

    def __str__(self) -> str:
        return f"{self.developer_id} {self.month:%Y-%m}"


class GateAttempt(models.Model):
    """A developer tried something that its plan does not include. Append-only."""

    developer_id = models.CharField(_("developer"), max_length=40)
    plan_key = models.CharField(_("plan"), max_length=40)
    gate = models.CharField(_("feature"), max_length=40)
    subject = models.CharField(_("subject"), max_length=100, blank=True)
    actor = models.CharField(_("actor"), max_length=100)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "gate_attempts"
        verbose_name = _("attempt at a gated feature")
        verbose_name_plural = _("attempts at gated features")
        indexes = [models.Index(fields=["developer_id", "-created_at"], name="gate_attempts_developer")]

    def __str__(self) -> str:
        return f"{self.developer_id} {self.gate}"
