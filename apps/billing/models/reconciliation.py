"""What others say of the same money: Stripe's balance transactions, providers' invoices, and where they differ."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _


class BalanceTransactionState(models.TextChoices):
    """Open: no posting of ours has been found yet. Matched: it and its fee are posted, each once."""

    OPEN = "open", _("open")
    MATCHED = "matched", _("matched")


class ReconciliationKind(models.TextChoices):
    STRIPE = "stripe", _("Stripe's balance")
    PROVIDER = "provider", _("a provider's invoice")


class RunStatus(models.TextChoices):
    RUNNING = "running", _("running")
    FINISHED = "finished", _("finished")
    FAILED = "failed", _("failed")


class DifferenceKind(models.TextChoices):
    MISSING_HERE = "missing_here", _("they have it, we do not")
    MISSING_THERE = "missing_there", _("we have it, they do not")
    AMOUNT_DIFFERS = "amount_differs", _("the amounts differ")
    STATE_DIFFERS = "state_differs", _("the states differ")


class InvoiceState(models.TextChoices):
    """Draft: read and shown, counts for nothing. Imported: compared with our cost."""

    DRAFT = "draft", _("to be confirmed")
    IMPORTED = "imported", _("imported")
    DISCARDED = "discarded", _("discarded")


class BalanceTransaction(models.Model):
    """A line of Stripe's own books on our balance. What it says never changes; what it matches is set once.

    `references` are the ids by which one of our rows may know it: charge, payment intent, invoice, refund, dispute,
    transfer. `transaction_id` is our posting of its amount, `fee_transaction_id` that of its fee.
    """

    id = models.CharField(_("id at Stripe"), max_length=64, primary_key=True)
    type = models.CharField(_("type"), max_length=64)
    category = models.CharField(_("category"), max_length=64, blank=True, default="")
    source = models.CharField(_("source"), max_length=64, blank=True, default="")
    references = ArrayField(models.CharField(max_length=100), verbose_name=_("references"), default=list)
    amount_cents = models.BigIntegerField(_("amount in cents"))
    fee_cents = models.BigIntegerField(_("fee in cents"))
    net_cents = models.BigIntegerField(_("net in cents"))
    description = models.CharField(_("description"), max_length=300, blank=True, default="")
    available_on = models.DateTimeField(_("available on"))
    created_at = models.DateTimeField(_("created at Stripe"))
    state = models.CharField(_("state"), max_length=10, choices=BalanceTransactionState)
    transaction_id = models.BigIntegerField(_("ledger transaction"), null=True, blank=True, unique=True)
    fee_transaction_id = models.BigIntegerField(_("ledger transaction of the fee"), null=True, blank=True, unique=True)
    matched_at = models.DateTimeField(_("matched at"), null=True, blank=True)
    imported_at = models.DateTimeField(_("imported at"))

    class Meta:
        db_table = "balance_transactions"
        verbose_name = _("balance transaction")
        verbose_name_plural = _("balance transactions")
        constraints = [
            models.CheckConstraint(
                condition=Q(net_cents=F("amount_cents") - F("fee_cents")), name="balance_transactions_net"
            ),
            models.CheckConstraint(
                condition=Q(state__in=BalanceTransactionState.values), name="balance_transactions_state"
            ),
            models.CheckConstraint(
                condition=Q(state="open", matched_at=None, transaction_id=None)
                | (
                    Q(state="matched", matched_at__isnull=False)
                    & (
                        Q(transaction_id__isnull=False)
                        | Q(fee_transaction_id__isnull=False)
                        | Q(amount_cents=0)
                        | Q(net_cents=0)
                    )
                ),
                name="balance_transactions_matched",
            ),
        ]
        indexes = [
            models.Index(fields=["created_at"], name="balance_transactions_created"),
            models.Index(fields=["id"], condition=Q(state="open"), name="balance_transactions_open"),
            GinIndex(fields=["references"], name="balance_transactions_refs"),
        ]

    def __str__(self) -> str:
        return self.id


class ReconciliationRun(models.Model):
    """One comparison of our books with another's. Amounts in nano-USD.

    `difference` is theirs − ours; `explained` what the differences that are listed, or still within their grace,
    come to. A run is balanced when these are equal.
    """

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    kind = models.CharField(_("kind"), max_length=10, choices=ReconciliationKind)
    reference = models.CharField(_("of"), max_length=64, blank=True, default="")
    period_begin = models.DateField(_("from"))
    period_end = models.DateField(_("until"))
    status = models.CharField(_("status"), max_length=10, choices=RunStatus)
    matched = models.IntegerField(_("matched"), default=0)
    missing_here = models.IntegerField(_("missing here"), default=0)
    missing_there = models.IntegerField(_("missing there"), default=0)
    differing = models.IntegerField(_("differing"), default=0)
    waiting = models.IntegerField(_("within their grace"), default=0)
    theirs_nano = models.BigIntegerField(_("theirs"), default=0)
    ours_nano = models.BigIntegerField(_("ours"), default=0)
    difference_nano = models.BigIntegerField(_("difference"), default=0)
    explained_nano = models.BigIntegerField(_("of it explained"), default=0)
    error = models.CharField(_("error"), max_length=500, blank=True, default="")
    actor = models.CharField(_("by"), max_length=100)
    started_at = models.DateTimeField(_("started at"))
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)

    class Meta:
        db_table = "reconciliation_runs"
        verbose_name = _("reconciliation run")
        verbose_name_plural = _("reconciliation runs")
        permissions = [("export_all", _("Can export the tables of the whole instance"))]
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=ReconciliationKind.values), name="reconciliation_runs_kind"),
            models.CheckConstraint(condition=Q(status__in=RunStatus.values), name="reconciliation_runs_status"),
            models.CheckConstraint(
                condition=Q(status="running", finished_at=None) | (~Q(status="running") & Q(finished_at__isnull=False)),
                name="reconciliation_runs_finished",
            ),
            models.CheckConstraint(
                condition=Q(difference_nano=F("theirs_nano") - F("ours_nano")), name="reconciliation_runs_difference"
            ),
            models.UniqueConstraint(
                fields=["kind", "reference"], condition=Q(status="running"), name="reconciliation_runs_one_running"
            ),
            models.CheckConstraint(condition=Q(period_end__gte=F("period_begin")), name="reconciliation_runs_period"),
        ]
        indexes = [models.Index(fields=["kind", "-started_at"], name="reconciliation_runs_latest")]

    def __str__(self) -> str:
        return self.id


class ReconciliationItem(models.Model):
    """One difference that a run found. Only its resolution is ever added: by an operator, or by a later match."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    run = models.ForeignKey(ReconciliationRun, models.PROTECT, related_name="items", verbose_name=_("run"))
    source = models.CharField(_("compared with"), max_length=10, choices=ReconciliationKind)
    kind = models.CharField(_("kind"), max_length=16, choices=DifferenceKind)
    reference = models.CharField(_("reference"), max_length=200)
    theirs_nano = models.BigIntegerField(_("theirs"), null=True, blank=True)
    ours_nano = models.BigIntegerField(_("ours"), null=True, blank=True)
    balance_transaction_id = models.CharField(_("balance transaction"), max_length=64, blank=True, default="")
    transaction_id = models.BigIntegerField(_("ledger transaction"), null=True, blank=True)
    developer_id = models.CharField(_("developer"), max_length=40, blank=True, default="")
    note = models.TextField(_("note"), blank=True, default="")
    created_at = models.DateTimeField(_("found at"))
    resolved_at = models.DateTimeField(_("resolved at"), null=True, blank=True)
    resolved_by = models.CharField(_("resolved by"), max_length=100, blank=True, default="")
    resolution = models.CharField(_("resolution"), max_length=500, blank=True, default="")

    class Meta:
        db_table = "reconciliation_items"
        verbose_name = _("difference")
        verbose_name_plural = _("differences")
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=DifferenceKind.values), name="reconciliation_items_kind"),
            models.CheckConstraint(condition=Q(source__in=ReconciliationKind.values), name="reconciliation_items_of"),
            models.CheckConstraint(
                condition=Q(resolved_at=None, resolved_by="", resolution="")
                | (Q(resolved_at__isnull=False) & ~Q(resolved_by="") & ~Q(resolution="")),
                name="reconciliation_items_resolved",
            ),
            models.UniqueConstraint(
                fields=["source", "kind", "reference"],
                condition=Q(resolved_at=None),
                name="reconciliation_items_open_once",
            ),
        ]
        indexes = [
            models.Index(fields=["developer_id"], condition=Q(resolved_at=None), name="reconciliation_items_open"),
            models.Index(fields=["source", "reference"], name="reconciliation_items_reference"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.reference}"


class ProviderInvoice(models.Model):
    """A provider's bill, as it was read from a file. A file counts once; amounts in nano-USD."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    provider = models.CharField(_("provider"), max_length=64)
    state = models.CharField(_("state"), max_length=10, choices=InvoiceState)
    period_begin = models.DateField(_("first day"))
    period_end = models.DateField(_("last day"))
    total_nano = models.BigIntegerField(_("total"))
    line_count = models.IntegerField(_("lines"))
    file_name = models.CharField(_("file"), max_length=200)
    file_hash = models.CharField(_("SHA-256 of the file"), max_length=64)
    columns = models.JSONField(_("columns"), default=dict)
    created_at = models.DateTimeField(_("read at"))
    created_by = models.CharField(_("read by"), max_length=100)
    decided_at = models.DateTimeField(_("confirmed or discarded at"), null=True, blank=True)
    decided_by = models.CharField(_("confirmed or discarded by"), max_length=100, blank=True, default="")

    class Meta:
        db_table = "provider_invoices"
        verbose_name = _("provider's invoice")
        verbose_name_plural = _("providers' invoices")
        constraints = [
            models.CheckConstraint(condition=Q(state__in=InvoiceState.values), name="provider_invoices_state"),
            models.CheckConstraint(
                condition=Q(state="draft", decided_at=None, decided_by="")
                | (~Q(state="draft") & Q(decided_at__isnull=False) & ~Q(decided_by="")),
                name="provider_invoices_decided",
            ),
            models.CheckConstraint(
                condition=Q(period_end__gte=F("period_begin"), line_count__gte=1), name="provider_invoices_period"
            ),
            models.UniqueConstraint(
                fields=["file_hash"], condition=~Q(state="discarded"), name="provider_invoices_file_once"
            ),
        ]
        indexes = [models.Index(fields=["provider", "period_begin"], name="provider_invoices_provider")]

    def __str__(self) -> str:
        return f"{self.provider} {self.period_begin} – {self.period_end}"


class ProviderInvoiceLine(models.Model):
    """A line of a provider's bill: what a model cost on a day (UTC), in nano-USD; negative where it is a credit."""

    invoice = models.ForeignKey(ProviderInvoice, models.PROTECT, related_name="lines", verbose_name=_("invoice"))
    number = models.IntegerField(_("line"))
    day = models.DateField(_("day"))
    model = models.CharField(_("model"), max_length=200)
    tokens = models.BigIntegerField(_("tokens"), null=True, blank=True)
    amount_nano = models.BigIntegerField(_("amount"))

    class Meta:
        db_table = "provider_invoice_lines"
        verbose_name = _("line of a provider's invoice")
        verbose_name_plural = _("lines of providers' invoices")
        constraints = [
            models.UniqueConstraint(fields=["invoice", "number"], name="provider_invoice_lines_number"),
            models.CheckConstraint(condition=Q(tokens=None) | Q(tokens__gte=0), name="provider_invoice_lines_tokens"),
            models.CheckConstraint(condition=~Q(model=""), name="provider_invoice_lines_model"),
        ]
        indexes = [models.Index(fields=["invoice", "day", "model"], name="provider_invoice_lines_day")]

    def __str__(self) -> str:
        return f"{self.invoice_id} {self.number}"
