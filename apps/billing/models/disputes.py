"""Payments that the payer's bank takes back, and what of the loss is got back from developers."""

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _


class DisputeStatus(models.TextChoices):
    """Inquiry: the bank asks, nothing is withdrawn. Closed: it ended without a withdrawal."""

    INQUIRY = "inquiry", _("inquiry")
    OPEN = "open", _("open")
    WON = "won", _("won")
    LOST = "lost", _("lost")
    WRITTEN_OFF = "written_off", _("written off")
    CLOSED = "closed", _("closed, nothing withdrawn")


class Dispute(models.Model):
    """A dispute of a top-up's payment: the wallet is debited and frozen; given back if won, else recovered."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    stripe_dispute_id = models.CharField(_("Stripe dispute"), max_length=64, unique=True)
    top_up_id = models.CharField(_("top-up"), max_length=40)
    account_id = models.BigIntegerField(_("account"))
    app_id = models.CharField(_("app"), max_length=40, blank=True, default="")
    status = models.CharField(_("status"), max_length=12, choices=DisputeStatus)
    stripe_status = models.CharField(_("status at Stripe"), max_length=40)
    reason = models.CharField(_("reason"), max_length=64, blank=True, default="")
    amount_cents = models.BigIntegerField(_("disputed in cents"))
    credit_cents = models.BigIntegerField(_("of it credit in cents"))
    tax_cents = models.BigIntegerField(_("of it tax in cents"), default=0)
    problem = models.CharField(_("problem"), max_length=300, blank=True, default="")
    froze = models.BooleanField(_("froze the wallet"), default=False)
    transaction_id = models.BigIntegerField(_("ledger transaction"), null=True, blank=True, unique=True)
    reversal_id = models.BigIntegerField(_("ledger reversal"), null=True, blank=True, unique=True)
    clawback_id = models.BigIntegerField(_("claw-back's transaction"), null=True, blank=True, unique=True)
    clawed_at = models.DateTimeField(_("clawed back at"), null=True, blank=True)
    clawed_back_nano = models.BigIntegerField(_("clawed back"), default=0)
    write_off_id = models.BigIntegerField(_("write-off's transaction"), null=True, blank=True, unique=True)
    written_off_nano = models.BigIntegerField(_("written off"), default=0)
    evidence_due_at = models.DateTimeField(_("evidence due at"), null=True, blank=True)
    opened_at = models.DateTimeField(_("opened at"))
    lost_at = models.DateTimeField(_("lost at"), null=True, blank=True)
    closed_at = models.DateTimeField(_("closed at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"))
    updated_at = models.DateTimeField(_("updated at"))

    class Meta:
        db_table = "disputes"
        verbose_name = _("dispute")
        verbose_name_plural = _("disputes")
        constraints = [
            models.CheckConstraint(condition=Q(status__in=DisputeStatus.values), name="disputes_status"),
            models.CheckConstraint(
                condition=Q(
                    amount_cents__gt=0,
                    credit_cents__gte=0,
                    tax_cents__gte=0,
                    amount_cents=F("credit_cents") + F("tax_cents"),
                ),
                name="disputes_amount",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["open", "lost", "written_off"], transaction_id__isnull=False, reversal_id=None)
                | Q(status__in=["inquiry", "closed"], transaction_id=None, reversal_id=None)
                | Q(status="won", transaction_id__isnull=False, reversal_id__isnull=False)
                | Q(status="won", transaction_id=None, reversal_id=None),
                name="disputes_posted",
            ),
            models.CheckConstraint(
                condition=Q(clawed_back_nano=0, clawback_id=None)
                | Q(clawed_back_nano__gt=0, clawback_id__isnull=False),
                name="disputes_clawed_back",
            ),
            models.CheckConstraint(
                condition=Q(written_off_nano=0, write_off_id=None)
                | Q(written_off_nano__gt=0, write_off_id__isnull=False),
                name="disputes_written_off",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["lost", "written_off"], lost_at__isnull=False)
                | ~Q(status__in=["lost", "written_off"]),
                name="disputes_lost",
            ),
        ]
        indexes = [
            models.Index(fields=["account_id", "-id"], name="disputes_account"),
            models.Index(fields=["app_id", "-id"], name="disputes_app"),
            models.Index(fields=["top_up_id"], name="disputes_top_up"),
            models.Index(fields=["id"], condition=Q(status__in=["inquiry", "open", "lost"]), name="disputes_at_risk"),
            models.Index(fields=["lost_at"], condition=Q(status="lost"), name="disputes_to_write_off"),
        ]

    def __str__(self) -> str:
        return self.id


class DisputeClawback(models.Model):
    """A developer's share of one call that was paid with disputed money, taken back; an event at most once."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    dispute = models.ForeignKey(Dispute, models.PROTECT, related_name="clawbacks", verbose_name=_("dispute"))
    request_id = models.CharField(_("request"), max_length=40, unique=True)
    developer_id = models.CharField(_("developer"), max_length=40)
    amount_nano = models.BigIntegerField(_("amount"))
    transaction_id = models.BigIntegerField(_("ledger transaction"))
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "dispute_clawbacks"
        verbose_name = _("claw-back")
        verbose_name_plural = _("claw-backs")
        constraints = [
            models.CheckConstraint(condition=Q(amount_nano__gt=0), name="dispute_clawbacks_amount"),
        ]
        indexes = [models.Index(fields=["developer_id", "-id"], name="dispute_clawbacks_developer")]

    def __str__(self) -> str:
        return self.request_id
