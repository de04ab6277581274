"""Money that comes in for a wallet through Stripe, and goes back: top-ups, their repetition, refunds, saved cards."""

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from apps.core.money import MAX_NANO, NANO_PER_CENT

MAX_CENTS = MAX_NANO // NANO_PER_CENT


class OwnerKind(models.TextChoices):
    """Whose wallet it is; the ledger's account kinds of the same names."""

    END_USER = "end_user", _("End user")
    DEVELOPER_CREDIT = "developer_credit", _("Developer's prepaid credit")


class TopUpSource(models.TextChoices):
    CHECKOUT = "checkout", _("Stripe's payment page")
    SAVED_CARD = "saved_card", _("saved card")
    AUTO = "auto", _("automatic, with the saved card")


class TopUpStatus(models.TextChoices):
    """Sending: Stripe is being asked. Open: its page waits for the payer. Pending: paid by a method that takes days."""

    SENDING = "sending", _("being sent")
    OPEN = "open", _("waiting for the payer")
    PENDING = "pending", _("payment under way")
    PAID = "paid", _("paid")
    FAILED = "failed", _("failed")
    EXPIRED = "expired", _("expired")
    CANCELED = "canceled", _("canceled")


# What may still become of it without anybody's doing: the sweeper looks at these.
WAITING = (TopUpStatus.SENDING, TopUpStatus.OPEN, TopUpStatus.PENDING)
_WAITING = [status.value for status in WAITING]


class RefundSource(models.TextChoices):
    OPERATOR = "operator", _("an operator")
    OWNER = "owner", _("the wallet's owner")
    STRIPE = "stripe", _("made at Stripe")


class RefundStatus(models.TextChoices):
    """Requested: the wallet is debited. Sending: Stripe is being asked, or at work. Failed: credited again."""

    REQUESTED = "requested", _("requested")
    SENDING = "sending", _("being sent")
    SUCCEEDED = "succeeded", _("succeeded")
    FAILED = "failed", _("failed")


_UNDER_WAY = [RefundStatus.REQUESTED.value, RefundStatus.SENDING.value]


class BillingCustomer(models.Model):
    """What Stripe knows a wallet's owner by, and the card that it keeps for them."""

    account_id = models.BigIntegerField(_("account"), primary_key=True)
    idempotency_key = models.CharField(_("idempotency key"), max_length=40, unique=True)
    customer_id = models.CharField(_("Stripe customer"), max_length=64, null=True, blank=True, unique=True)
    payment_method_id = models.CharField(_("saved card at Stripe"), max_length=64, blank=True, default="")
    card_brand = models.CharField(_("card brand"), max_length=20, blank=True, default="")
    card_last4 = models.CharField(_("last four digits"), max_length=4, blank=True, default="")
    card_fingerprint = models.CharField(
        _("Stripe's mark of the card"),
        max_length=64,
        blank=True,
        default="",
        help_text=_("The same for the same card, whoever saved it."),
    )
    card_exp_month = models.SmallIntegerField(_("valid until month"), null=True, blank=True)
    card_exp_year = models.SmallIntegerField(_("valid until year"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"))
    updated_at = models.DateTimeField(_("updated at"))

    class Meta:
        db_table = "billing_customers"
        verbose_name = _("billing customer")
        verbose_name_plural = _("billing customers")
        constraints = [
            models.CheckConstraint(
                condition=Q(payment_method_id="") | Q(customer_id__isnull=False), name="billing_customers_card"
            ),
            models.CheckConstraint(condition=~Q(customer_id=""), name="billing_customers_customer"),
        ]

    def __str__(self) -> str:
        return str(self.account_id)


class TopUp(models.Model):
    """Credit bought for a wallet. What Stripe is asked stands here before it is asked; it is credited once.

    `problem` says how what Stripe reports differs from this row; such a payment is not credited.
    """

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    account_id = models.BigIntegerField(_("account"))
    owner_kind = models.CharField(_("owner's kind"), max_length=20, choices=OwnerKind)
    owner_id = models.CharField(_("owner"), max_length=40)
    app_id = models.CharField(_("app"), max_length=40, blank=True, default="")
    source = models.CharField(_("source"), max_length=12, choices=TopUpSource)
    credit_nano = models.BigIntegerField(_("credit"))
    amount_cents = models.BigIntegerField(_("amount in cents"))
    tax_cents = models.BigIntegerField(_("tax in cents"), default=0)
    status = models.CharField(_("status"), max_length=10, choices=TopUpStatus)
    problem = models.CharField(_("problem"), max_length=300, blank=True, default="")
    error_code = models.CharField(_("why it failed"), max_length=64, blank=True, default="")
    checkout_session_id = models.CharField(_("Checkout session"), max_length=100, null=True, blank=True, unique=True)
    payment_intent_id = models.CharField(_("payment intent"), max_length=64, null=True, blank=True, unique=True)
    charge_id = models.CharField(_("charge"), max_length=64, null=True, blank=True, unique=True)
    checkout_url = models.TextField(_("payment page"), blank=True, default="")
    receipt_url = models.TextField(_("Stripe's receipt"), blank=True, default="")
    return_url = models.CharField(_("address to go back to"), max_length=500, blank=True, default="")
    base_url = models.CharField(_("address of this instance"), max_length=300, blank=True, default="")
    save_card = models.BooleanField(_("save the card"), default=False)
    payment_method_id = models.CharField(_("card charged"), max_length=64, blank=True, default="")
    tax_calculation_id = models.CharField(_("tax calculation"), max_length=64, blank=True, default="")
    transaction_id = models.BigIntegerField(_("ledger transaction"), null=True, blank=True, unique=True)
    refunded_cents = models.BigIntegerField(_("credit refunded in cents"), default=0)
    refunded_tax_cents = models.BigIntegerField(_("tax refunded in cents"), default=0)
    idempotency_key = models.CharField(_("idempotency key"), max_length=255)
    looks = models.IntegerField(_("looks at Stripe"), default=0)
    next_look_at = models.DateTimeField(_("next look at Stripe"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"))
    updated_at = models.DateTimeField(_("updated at"))
    paid_at = models.DateTimeField(_("paid at"), null=True, blank=True)
    actor = models.CharField(_("by"), max_length=100)

    class Meta:
        db_table = "top_ups"
        verbose_name = _("top-up")
        verbose_name_plural = _("top-ups")
        constraints = [
            models.CheckConstraint(condition=Q(owner_kind__in=OwnerKind.values), name="top_ups_owner_kind"),
            models.CheckConstraint(condition=Q(source__in=TopUpSource.values), name="top_ups_source"),
            models.CheckConstraint(condition=Q(status__in=TopUpStatus.values), name="top_ups_status"),
            models.CheckConstraint(
                condition=Q(
                    amount_cents__gt=0,
                    amount_cents__lte=MAX_CENTS,
                    tax_cents__gte=0,
                    tax_cents__lte=MAX_CENTS,
                    credit_nano=F("amount_cents") * NANO_PER_CENT,
                ),
                name="top_ups_amount",
            ),
            models.CheckConstraint(
                condition=Q(status="paid", transaction_id__isnull=False, paid_at__isnull=False)
                | (~Q(status="paid") & Q(transaction_id__isnull=True, paid_at__isnull=True)),
                name="top_ups_paid_is_posted",
            ),
            models.CheckConstraint(
                condition=Q(
                    refunded_cents__gte=0,
                    refunded_cents__lte=F("amount_cents"),
                    refunded_tax_cents__gte=0,
                    refunded_tax_cents__lte=F("tax_cents"),
                )
                & (Q(refunded_cents=0, refunded_tax_cents=0) | Q(status="paid")),
                name="top_ups_refunded",
            ),
            models.CheckConstraint(
                condition=Q(status__in=_WAITING, next_look_at__isnull=False)
                | (~Q(status__in=_WAITING) & Q(next_look_at__isnull=True)),
                name="top_ups_waiting_is_looked_at",
            ),
            models.CheckConstraint(
                condition=~Q(checkout_session_id="") & ~Q(payment_intent_id="") & ~Q(charge_id=""),
                name="top_ups_stripe_ids",
            ),
            models.UniqueConstraint(fields=["account_id", "idempotency_key"], name="top_ups_key"),
            models.UniqueConstraint(
                fields=["account_id"],
                condition=Q(source="auto", status__in=_WAITING),
                name="top_ups_one_automatic",
            ),
        ]
        indexes = [
            models.Index(fields=["account_id", "-id"], name="top_ups_account"),
            models.Index(fields=["next_look_at"], condition=Q(next_look_at__isnull=False), name="top_ups_waiting"),
            models.Index(fields=["account_id", "created_at"], condition=Q(source="auto"), name="top_ups_automatic"),
            models.Index(fields=["id"], condition=~Q(problem=""), name="top_ups_problems"),
            models.Index(fields=["paid_at"], condition=Q(paid_at__isnull=False), name="top_ups_paid"),
        ]

    def __str__(self) -> str:
        return self.id


class AutoTopUp(models.Model):
    """That a wallet is topped up with the saved card whenever it has less than `threshold_nano` available."""

    account_id = models.BigIntegerField(_("account"), primary_key=True)
    owner_kind = models.CharField(_("owner's kind"), max_length=20, choices=OwnerKind)
    owner_id = models.CharField(_("owner"), max_length=40)
    app_id = models.CharField(_("app"), max_length=40, blank=True, default="")
    threshold_nano = models.BigIntegerField(_("threshold"))
    amount_cents = models.BigIntegerField(_("amount in cents"))
    monthly_cap_cents = models.BigIntegerField(_("most a month in cents"))
    enabled = models.BooleanField(_("enabled"), default=True)
    failures = models.IntegerField(_("failures in a row"), default=0)
    paused_reason = models.CharField(_("why it is paused"), max_length=64, blank=True, default="")
    not_before = models.DateTimeField(_("not again before"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"))
    updated_at = models.DateTimeField(_("updated at"))
    actor = models.CharField(_("by"), max_length=100)

    class Meta:
        db_table = "auto_top_ups"
        verbose_name = _("automatic top-up")
        verbose_name_plural = _("automatic top-ups")
        constraints = [
            models.CheckConstraint(condition=Q(owner_kind__in=OwnerKind.values), name="auto_top_ups_owner_kind"),
            models.CheckConstraint(
                condition=Q(
                    threshold_nano__gt=0,
                    threshold_nano__lte=MAX_NANO,
                    amount_cents__gt=0,
                    amount_cents__lte=F("monthly_cap_cents"),
                    monthly_cap_cents__lte=MAX_CENTS,
                ),
                name="auto_top_ups_amounts",
            ),
            models.CheckConstraint(condition=Q(failures__gte=0), name="auto_top_ups_failures"),
        ]
        indexes = [
            models.Index(
                fields=["account_id"], condition=Q(enabled=True, paused_reason=""), name="auto_top_ups_in_force"
            )
        ]

    def __str__(self) -> str:
        return str(self.account_id)


class Refund(models.Model):
    """Money of a top-up that goes back to who paid: its wallet is debited first, then Stripe is asked."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    top_up = models.ForeignKey(TopUp, models.PROTECT, related_name="refunds", verbose_name=_("top-up"))
    account_id = models.BigIntegerField(_("account"))
    source = models.CharField(_("asked by"), max_length=10, choices=RefundSource)
    status = models.CharField(_("status"), max_length=10, choices=RefundStatus)
    amount_cents = models.BigIntegerField(_("credit in cents"))
    tax_cents = models.BigIntegerField(_("tax in cents"), default=0)
    stripe_refund_id = models.CharField(_("Stripe refund"), max_length=64, null=True, blank=True, unique=True)
    transaction_id = models.BigIntegerField(_("ledger transaction"), unique=True)
    reversal_id = models.BigIntegerField(_("ledger reversal"), null=True, blank=True, unique=True)
    reason = models.CharField(_("reason"), max_length=500, blank=True, default="")
    error_code = models.CharField(_("why it failed"), max_length=64, blank=True, default="")
    idempotency_key = models.CharField(_("idempotency key"), max_length=255)
    looks = models.IntegerField(_("looks at Stripe"), default=0)
    next_look_at = models.DateTimeField(_("next look at Stripe"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"))
    updated_at = models.DateTimeField(_("updated at"))
    actor = models.CharField(_("by"), max_length=100)

    class Meta:
        db_table = "refunds"
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
        constraints = [
            models.CheckConstraint(condition=Q(source__in=RefundSource.values), name="refunds_source"),
            models.CheckConstraint(condition=Q(status__in=RefundStatus.values), name="refunds_status"),
            models.CheckConstraint(
                condition=Q(
                    amount_cents__gte=0, tax_cents__gte=0, amount_cents__lte=MAX_CENTS, tax_cents__lte=MAX_CENTS
                )
                & (Q(amount_cents__gt=0) | Q(tax_cents__gt=0)),
                name="refunds_amount",
            ),
            models.CheckConstraint(
                condition=Q(status="failed", reversal_id__isnull=False)
                | (~Q(status="failed") & Q(reversal_id__isnull=True)),
                name="refunds_failed_is_reversed",
            ),
            models.CheckConstraint(
                condition=~Q(status="succeeded") | Q(stripe_refund_id__isnull=False), name="refunds_succeeded"
            ),
            models.CheckConstraint(
                condition=Q(status__in=_UNDER_WAY, next_look_at__isnull=False)
                | (~Q(status__in=_UNDER_WAY) & Q(next_look_at__isnull=True)),
                name="refunds_under_way_is_looked_at",
            ),
            models.CheckConstraint(condition=~Q(stripe_refund_id=""), name="refunds_stripe_id"),
            models.UniqueConstraint(fields=["account_id", "idempotency_key"], name="refunds_key"),
        ]
        indexes = [
            models.Index(fields=["account_id", "-id"], name="refunds_account"),
            models.Index(fields=["next_look_at"], condition=Q(next_look_at__isnull=False), name="refunds_under_way"),
            models.Index(fields=["created_at"], name="refunds_created"),
        ]

    def __str__(self) -> str:
        return self.id
