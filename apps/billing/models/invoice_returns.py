"""Money of plan invoices that went back: refunds, and payments that the payer's bank took back."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class ReturnKind(models.TextChoices):
    REFUND = "refund", _("refund")
    DISPUTE = "dispute", _("dispute")


class ReturnStatus(models.TextChoices):
    """Waiting: nothing is withdrawn yet. Restored: it failed, or the dispute was won, and the money is ours again."""

    WAITING = "waiting", _("nothing withdrawn")
    RETURNED = "returned", _("returned")
    RESTORED = "restored", _("restored")


class InvoiceReturn(models.Model):
    """A refund or dispute of an invoice's payment, keyed by Stripe's own id; posted once, restored at most once."""

    id = models.CharField(_("refund or dispute at Stripe"), max_length=100, primary_key=True)
    kind = models.CharField(_("kind"), max_length=10, choices=ReturnKind)
    invoice_id = models.CharField(_("invoice at Stripe"), max_length=100)
    subscription_id = models.CharField(_("subscription"), max_length=40)
    developer_id = models.CharField(_("developer"), max_length=40)
    status = models.CharField(_("status"), max_length=10, choices=ReturnStatus)
    stripe_status = models.CharField(_("status at Stripe"), max_length=40)
    amount_nano = models.BigIntegerField(_("amount without tax"))
    tax_nano = models.BigIntegerField(_("tax"))
    transaction_id = models.BigIntegerField(_("ledger transaction"), null=True, blank=True, unique=True)
    reversal_id = models.BigIntegerField(_("reversal"), null=True, blank=True, unique=True)
    created_at = models.DateTimeField(_("created at"))
    updated_at = models.DateTimeField(_("changed at"))

    class Meta:
        db_table = "invoice_returns"
        verbose_name = _("returned invoice")
        verbose_name_plural = _("returned invoices")
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=ReturnKind.values), name="invoice_returns_kind"),
            models.CheckConstraint(condition=Q(amount_nano__gte=0, tax_nano__gte=0), name="invoice_returns_money"),
            models.CheckConstraint(
                condition=Q(status="waiting", transaction_id=None, reversal_id=None)
                | Q(status="returned", transaction_id__isnull=False, reversal_id=None)
                | Q(status="restored", transaction_id__isnull=False, reversal_id__isnull=False),
                name="invoice_returns_posted",
            ),
        ]
        indexes = [models.Index(fields=["invoice_id"], name="invoice_returns_invoice")]

    def __str__(self) -> str:
        return self.id
