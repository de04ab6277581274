"""Value pricing: a part of what a developer saves against its three-month baseline, else a base fee."""

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from apps.core.money import MAX_NANO


class BaselineSource(models.TextChoices):
    ENTERED = "entered", _("entered")
    MEASURED = "measured", _("measured here")


class ValueAgreement(models.Model):
    """That a developer pays by value from a month on; one at a time."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    developer_id = models.CharField(_("developer"), max_length=40)
    share_bps = models.IntegerField(_("share of the savings in basis points"))
    base_fee_nano = models.BigIntegerField(_("base fee"))
    baseline_nano = models.BigIntegerField(_("baseline a month"))
    starts_month = models.DateField(_("first month"))
    ends_month = models.DateField(_("last month"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(_("created by"), max_length=100)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)

    class Meta:
        db_table = "value_agreements"
        verbose_name = _("agreement on value pricing")
        verbose_name_plural = _("agreements on value pricing")
        constraints = [
            models.CheckConstraint(condition=Q(share_bps__gte=0, share_bps__lte=10_000), name="value_agreements_share"),
            models.CheckConstraint(
                condition=Q(base_fee_nano__gte=0, base_fee_nano__lte=MAX_NANO)
                & Q(baseline_nano__gte=0, baseline_nano__lte=MAX_NANO),
                name="value_agreements_money",
            ),
            models.CheckConstraint(
                condition=Q(ends_month=None, ended_at=None) | Q(ends_month__isnull=False, ended_at__isnull=False),
                name="value_agreements_ended",
            ),
            models.UniqueConstraint(
                fields=["developer_id"], condition=Q(ended_at=None), name="value_agreements_one_live"
            ),
        ]

    def __str__(self) -> str:
        return self.id


class BaselineMonth(models.Model):
    """What a developer's calls cost in one month before it paid by value. It counts once an operator accepted it."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    developer_id = models.CharField(_("developer"), max_length=40)
    month = models.DateField(_("month"))
    cost_nano = models.BigIntegerField(_("cost"))
    source = models.CharField(_("source"), max_length=10, choices=BaselineSource)
    evidence = models.TextField(_("evidence"), help_text=_("An invoice's number and address, or how it was measured."))
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(_("created by"), max_length=100)
    accepted_at = models.DateTimeField(_("accepted at"), null=True, blank=True)
    accepted_by = models.CharField(_("accepted by"), max_length=100, blank=True)

    class Meta:
        db_table = "baseline_months"
        verbose_name = _("month of a baseline")
        verbose_name_plural = _("months of baselines")
        constraints = [
            models.CheckConstraint(condition=Q(source__in=BaselineSource.values), name="baseline_months_source"),
            models.CheckConstraint(condition=Q(cost_nano__gte=0, cost_nano__lte=MAX_NANO), name="baseline_months_cost"),
            models.CheckConstraint(condition=~Q(evidence=""), name="baseline_months_evidence"),
            models.UniqueConstraint(fields=["developer_id", "month"], name="baseline_months_once"),
        ]

    def __str__(self) -> str:
        return f"{self.developer_id} {self.month:%Y-%m}"


class ValueBill(models.Model):
    """What a month of value pricing came to, posted once. Append-only."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    agreement = models.ForeignKey(ValueAgreement, models.PROTECT, related_name="bills", verbose_name=_("agreement"))
    developer_id = models.CharField(_("developer"), max_length=40)
    month = models.DateField(_("month"))
    baseline_nano = models.BigIntegerField(_("baseline"))
    actual_nano = models.BigIntegerField(_("actual cost"))
    savings_nano = models.BigIntegerField(_("saved"))
    fee_nano = models.BigIntegerField(_("fee"))
    transaction_id = models.BigIntegerField(_("ledger transaction"), null=True, blank=True, unique=True)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "value_bills"
        verbose_name = _("bill of value pricing")
        verbose_name_plural = _("bills of value pricing")
        constraints = [
            models.UniqueConstraint(fields=["developer_id", "month"], name="value_bills_once"),
            models.CheckConstraint(
                condition=Q(baseline_nano__gte=0, actual_nano__gte=0, savings_nano__gte=0, fee_nano__gte=0),
                name="value_bills_money",
            ),
            models.CheckConstraint(
                condition=Q(savings_nano=0, baseline_nano__lte=F("actual_nano"))
                | Q(savings_nano=F("baseline_nano") - F("actual_nano")),
                name="value_bills_savings",
            ),
            models.CheckConstraint(
                condition=Q(transaction_id__isnull=False) | Q(fee_nano=0), name="value_bills_posted"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.developer_id} {self.month:%Y-%m}"
