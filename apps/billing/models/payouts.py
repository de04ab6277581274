"""Money that goes out to developers: where to, how much, and who said so."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Mod
from django.utils.translation import gettext_lazy as _

from apps.core.money import MAX_NANO, NANO_PER_CENT
from apps.vault.fields import EncryptedField


class Rail(models.TextChoices):
    """How money reaches a developer: by a transfer through Stripe Connect, or by the operator's own bank."""

    STRIPE = "stripe", _("Stripe")
    MANUAL = "manual", _("by hand")


class PayoutStatus(models.TextChoices):
    PROPOSED = "proposed", _("waiting for approval")
    HELD = "held", _("held")
    APPROVED = "approved", _("approved")
    SENDING = "sending", _("being sent")
    SENT = "sent", _("sent")
    PAID = "paid", _("paid")
    FAILED = "failed", _("failed")
    REVERSED = "reversed", _("came back")
    REJECTED = "rejected", _("rejected")


# A developer has at most one payout in these.
OPEN_STATUSES = (
    PayoutStatus.PROPOSED,
    PayoutStatus.HELD,
    PayoutStatus.APPROVED,
    PayoutStatus.SENDING,
    PayoutStatus.SENT,
)


class PayoutOrigin(models.TextChoices):
    SCHEDULED = "scheduled", _("scheduled run")
    REQUESTED = "requested", _("asked for by the developer")
    OPERATOR = "operator", _("proposed by an operator")


class Decision(models.TextChoices):
    PROPOSE = "propose", _("proposed")
    APPROVE = "approve", _("approved")
    REJECT = "reject", _("rejected")
    HOLD = "hold", _("held")
    RELEASE = "release", _("released")
    MARK_PAID = "mark_paid", _("marked as paid")
    MARK_FAILED = "mark_failed", _("marked as failed")


_BY_A_PERSON = [Decision.APPROVE, Decision.RELEASE, Decision.MARK_PAID, Decision.MARK_FAILED]


class SkipReason(models.TextChoices):
    """Why a run proposed nothing to a developer."""

    BELOW_MINIMUM = "below_minimum", _("less than the minimum")
    NO_ACCOUNT = "no_account", _("no payout account, or not ready")
    STOPPED = "stopped", _("payouts stopped")
    DISABLED = "disabled", _("developer disabled")
    FROZEN = "frozen", _("wallet frozen")
    OPEN_PAYOUT = "open_payout", _("another payout is open")


class PayoutAccount(models.Model):
    """Where a developer's money goes, what the rail says of it, and the terms that differ from the settings.

    `stopped_at` is the kill switch. A row without a rail only carries terms or the switch.
    """

    developer_id = models.CharField(_("developer"), max_length=40, primary_key=True)
    rail = models.CharField(_("rail"), max_length=10, choices=Rail, blank=True, default="", db_default="")
    country = models.CharField(_("country"), max_length=2, blank=True, default="", db_default="")
    stripe_account_id = models.CharField(_("Stripe account"), max_length=64, null=True, blank=True, unique=True)
    payouts_enabled = models.BooleanField(_("Stripe pays it out"), default=False, db_default=False)
    details_submitted = models.BooleanField(_("details given to Stripe"), default=False, db_default=False)
    requirements = models.JSONField(_("still required by Stripe"), default=list, blank=True)
    disabled_reason = models.CharField(
        _("why Stripe does not pay"), max_length=100, blank=True, default="", db_default=""
    )
    deauthorized_at = models.DateTimeField(_("disconnected at"), null=True, blank=True)
    synced_at = models.DateTimeField(_("asked of Stripe at"), null=True, blank=True)
    details_id = models.CharField(_("bank details"), max_length=40, null=True, blank=True)
    trusted = models.BooleanField(_("trusted"), default=False, db_default=False)
    hold_days = models.IntegerField(_("hold days"), null=True, blank=True)
    reserve_bps = models.IntegerField(_("reserve (basis points)"), null=True, blank=True)
    minimum_nano = models.BigIntegerField(_("minimum"), null=True, blank=True)
    stopped_at = models.DateTimeField(_("stopped at"), null=True, blank=True)
    stopped_reason = models.CharField(_("why stopped"), max_length=500, blank=True, default="", db_default="")
    created_at = models.DateTimeField(_("created at"))
    updated_at = models.DateTimeField(_("updated at"))

    class Meta:
        db_table = "payout_accounts"
        verbose_name = _("payout account")
        verbose_name_plural = _("payout accounts")
        constraints = [
            models.CheckConstraint(condition=Q(rail="") | Q(rail__in=Rail.values), name="payout_accounts_rail"),
            models.CheckConstraint(
                condition=Q(hold_days=None) | Q(hold_days__gte=0, hold_days__lte=730), name="payout_accounts_hold_days"
            ),
            models.CheckConstraint(
                condition=Q(reserve_bps=None) | Q(reserve_bps__gte=0, reserve_bps__lte=10_000),
                name="payout_accounts_reserve",
            ),
            models.CheckConstraint(
                condition=Q(minimum_nano=None) | Q(minimum_nano__gte=0, minimum_nano__lte=MAX_NANO),
                name="payout_accounts_minimum",
            ),
            models.CheckConstraint(
                condition=Q(stopped_at=None, stopped_reason="") | (Q(stopped_at__isnull=False) & ~Q(stopped_reason="")),
                name="payout_accounts_stopped",
            ),
            models.CheckConstraint(condition=~Q(stripe_account_id=""), name="payout_accounts_stripe_account"),
        ]

    def __str__(self) -> str:
        return self.developer_id


class PayoutDetails(models.Model):
    """A developer's bank details, sealed. They never change: new ones are a new row, and the old ones stay known."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    developer_id = models.CharField(_("developer"), max_length=40)
    content = EncryptedField(_("content"), help_text=_("Holder, account and bank as JSON."))
    hint = models.CharField(_("ends in"), max_length=4)
    created_by = models.CharField(_("given by"), max_length=100)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "payout_details"
        verbose_name = _("bank details")
        verbose_name_plural = _("bank details")
        permissions = [("read_payoutdetails", _("Can read bank details and export them for the bank"))]
        indexes = [models.Index(fields=["developer_id", "id"], name="payout_details_developer")]

    def __str__(self) -> str:
        return f"{self.developer_id} …{self.hint}"


class Payout(models.Model):
    """An amount that is to reach a developer. Amounts in nano-USD, whole cents; the amount never changes.

    Triggers keep the order of the states, refuse every state behind approval without the approvals it needs and
    without the posted transactions, and refuse DELETE.
    """

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    developer_id = models.CharField(_("developer"), max_length=40)
    origin = models.CharField(_("origin"), max_length=10, choices=PayoutOrigin)
    requested_by = models.CharField(_("proposed by"), max_length=100)
    period = models.CharField(_("period"), max_length=10)
    cutoff_at = models.DateTimeField(_("matured until"))
    amount_nano = models.BigIntegerField(_("amount"))
    rail = models.CharField(_("rail"), max_length=10, choices=Rail)
    destination = models.CharField(_("destination"), max_length=64)
    destination_hint = models.CharField(_("destination ends in"), max_length=10, blank=True)
    status = models.CharField(_("status"), max_length=10, choices=PayoutStatus)
    breakdown = models.JSONField(_("how it was computed"))
    balance_nano = models.BigIntegerField(_("balance at proposal"))
    matured_nano = models.BigIntegerField(_("matured at proposal"))
    immature_nano = models.BigIntegerField(_("maturing at proposal"))
    reserve_nano = models.BigIntegerField(_("reserve at proposal"))
    risk_score = models.IntegerField(_("risk score at proposal"), null=True, blank=True)
    risk_signals = models.JSONField(_("risk signals at proposal"), default=list)
    accepted_risk = models.IntegerField(_("risk score accepted at release"), null=True, blank=True)
    approvals_needed = models.SmallIntegerField(_("approvals needed"))
    # Approvals count within a round; a payout that was held and released starts the next one.
    round = models.SmallIntegerField(_("round"), default=1, db_default=1)
    transfer_group = models.CharField(_("transfer group"), max_length=64, unique=True)
    transfer_id = models.CharField(_("transfer"), max_length=64, null=True, blank=True, unique=True)
    stripe_payout_id = models.CharField(_("Stripe payout"), max_length=64, null=True, blank=True, unique=True)
    reference = models.CharField(_("reference of the bank"), max_length=200, blank=True, default="", db_default="")
    payout_transaction_id = models.BigIntegerField(_("transaction of the approval"), null=True, blank=True, unique=True)
    sent_transaction_id = models.BigIntegerField(_("transaction of the sending"), null=True, blank=True, unique=True)
    returned_nano = models.BigIntegerField(_("came back"), default=0, db_default=0)
    # Set while a transfer is being taken back, to what the payout's end will be called.
    return_cause = models.CharField(_("taken back because"), max_length=20, blank=True, default="", db_default="")
    attempts = models.IntegerField(_("attempts"), default=0, db_default=0)
    # Part of the idempotency keys: Stripe repeats a refusal for as long as it remembers the key.
    refusals = models.IntegerField(_("refusals by Stripe"), default=0, db_default=0)
    next_attempt_at = models.DateTimeField(_("next attempt at"), null=True, blank=True)
    last_error = models.CharField(_("last error"), max_length=500, blank=True, default="", db_default="")
    created_at = models.DateTimeField(_("proposed at"))
    approved_at = models.DateTimeField(_("approved at"), null=True, blank=True)
    sending_at = models.DateTimeField(_("first sent at"), null=True, blank=True)
    sent_at = models.DateTimeField(_("sent at"), null=True, blank=True)
    paid_at = models.DateTimeField(_("paid at"), null=True, blank=True)
    closed_at = models.DateTimeField(_("closed at"), null=True, blank=True)

    class Meta:
        db_table = "payouts"
        verbose_name = _("payout")
        verbose_name_plural = _("payouts")
        permissions = [("review_payout", _("Can approve, hold and reject payouts"))]
        constraints = [
            models.UniqueConstraint(
                fields=["developer_id"],
                condition=Q(status__in=[status.value for status in OPEN_STATUSES]),
                name="payouts_one_open",
            ),
            models.UniqueConstraint(
                fields=["developer_id", "period"],
                condition=Q(origin=PayoutOrigin.SCHEDULED),
                name="payouts_once_a_period",
            ),
            models.CheckConstraint(
                condition=Q(amount_nano__gt=0, amount_nano__lte=MAX_NANO), name="payouts_amount_positive"
            ),
            models.CheckConstraint(
                condition=Q(amount_nano=F("amount_nano") - Mod(F("amount_nano"), NANO_PER_CENT)),
                name="payouts_amount_whole_cents",
            ),
            models.CheckConstraint(
                condition=Q(returned_nano__gte=0, returned_nano__lte=F("amount_nano")), name="payouts_returned"
            ),
            models.CheckConstraint(condition=Q(status__in=PayoutStatus.values), name="payouts_status"),
            models.CheckConstraint(condition=Q(origin__in=PayoutOrigin.values), name="payouts_origin"),
            models.CheckConstraint(condition=Q(rail__in=Rail.values), name="payouts_rail"),
            models.CheckConstraint(condition=~Q(destination="") & ~Q(requested_by=""), name="payouts_named"),
            models.CheckConstraint(condition=Q(approvals_needed__gte=1), name="payouts_approvals_needed"),
        ]
        indexes = [
            models.Index(fields=["developer_id", "-id"], name="payouts_developer"),
            models.Index(fields=["status", "next_attempt_at"], name="payouts_due"),
            models.Index(fields=["sent_at"], condition=Q(sent_at__isnull=False), name="payouts_sent"),
        ]

    def __str__(self) -> str:
        return self.id


class PayoutReview(models.Model):
    """A decision about a payout, by whom and why. Append-only; one approval a person and round."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    payout = models.ForeignKey(Payout, models.PROTECT, related_name="reviews", verbose_name=_("payout"))
    round = models.SmallIntegerField(_("round"))
    decision = models.CharField(_("decision"), max_length=12, choices=Decision)
    reason = models.CharField(_("reason"), max_length=500)
    reviewer = models.CharField(_("by"), max_length=100)
    at = models.DateTimeField(_("at"))

    class Meta:
        db_table = "payout_reviews"
        verbose_name = _("payout review")
        verbose_name_plural = _("payout reviews")
        constraints = [
            models.UniqueConstraint(
                fields=["payout", "round", "reviewer"],
                condition=Q(decision=Decision.APPROVE),
                name="payout_reviews_approves_once",
            ),
            models.CheckConstraint(condition=Q(decision__in=Decision.values), name="payout_reviews_decision"),
            models.CheckConstraint(condition=~Q(reason="") & ~Q(reviewer=""), name="payout_reviews_said"),
            # What approves is a person, never a task or a developer's token.
            models.CheckConstraint(
                condition=~Q(decision__in=_BY_A_PERSON) | Q(reviewer__startswith="user:"),
                name="payout_reviews_by_a_person",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.decision} {self.payout_id}"


class PayoutSkip(models.Model):
    """Why the last look of a period proposed nothing to a developer; one row a developer and period."""

    developer_id = models.CharField(_("developer"), max_length=40)
    period = models.CharField(_("period"), max_length=10)
    reason = models.CharField(_("reason"), max_length=20, choices=SkipReason)
    payable_nano = models.BigIntegerField(_("payable"))
    at = models.DateTimeField(_("at"))

    class Meta:
        db_table = "payout_skips"
        verbose_name = _("skipped payout")
        verbose_name_plural = _("skipped payouts")
        constraints = [
            models.UniqueConstraint(fields=["developer_id", "period"], name="payout_skips_once"),
            models.CheckConstraint(condition=Q(reason__in=SkipReason.values), name="payout_skips_reason"),
        ]

    def __str__(self) -> str:
        return f"{self.developer_id} {self.period}"


class PayoutStop(models.Model):
    """That no payout goes out at all. While its one row is there, nothing is proposed, approved or sent to anybody."""

    id = models.SmallIntegerField(_("id"), primary_key=True, default=1)
    reason = models.CharField(_("reason"), max_length=500)
    stopped_at = models.DateTimeField(_("stopped at"))
    stopped_by = models.CharField(_("stopped by"), max_length=100)

    class Meta:
        db_table = "payout_stops"
        verbose_name = _("stop of all payouts")
        verbose_name_plural = _("stop of all payouts")
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="payout_stops_one_row"),
            models.CheckConstraint(condition=~Q(reason="") & ~Q(stopped_by=""), name="payout_stops_said"),
        ]

    def __str__(self) -> str:
        return self.reason
