from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.fields.json import KeyTextTransform
from django.utils.translation import gettext_lazy as _

from apps.core.money import MAX_NANO


class AccountKind(models.TextChoices):
    """Whose money an account holds. A credit balance is what we owe the owner."""

    END_USER = "end_user", _("End user")
    DEVELOPER_CREDIT = "developer_credit", _("Developer's prepaid credit")
    APP_ALLOWANCE = "app_allowance", _("App's free allowance")
    DEVELOPER = "developer", _("Developer's revenue")
    PROVIDER_COST = "provider_cost", _("Owed to a provider")
    PLATFORM = "platform", _("Platform")
    PLATFORM_LOSS = "platform_loss", _("Platform's losses")
    INFRA_COST = "infra_cost", _("Infrastructure cost")
    PAYMENT_COST = "payment_cost", _("Payment cost")
    TAX = "tax", _("Tax collected")
    PAYOUT = "payout", _("Payouts under way")
    FUNDING = "funding", _("Outside world")


class TransactionKind(models.TextChoices):
    """Why money moved. The column is open text: a room above may add kinds of its own."""

    USAGE = "usage", _("Usage")
    LOSS = "loss", _("Loss")
    TOP_UP = "top_up", _("Top-up")
    GRANT = "grant", _("Grant")
    TRANSFER = "transfer", _("Transfer")
    ADJUSTMENT = "adjustment", _("Adjustment")
    REVERSAL = "reversal", _("Reversal")


class HoldState(models.TextChoices):
    OPEN = "open", _("Open")
    SETTLED = "settled", _("Settled")
    VOIDED = "voided", _("Voided")
    EXPIRED = "expired", _("Expired")


class HoldStage(models.TextChoices):
    """Dispatched: the provider may be at work. Metered: the usage event is stored and the price is known."""

    DISPATCHED = "dispatched", _("Dispatched")
    METERED = "metered", _("Metered")


class LedgerAccount(models.Model):
    """Somebody's account. It never changes and is never deleted; its balance is the wallet's."""

    kind = models.CharField(_("kind"), max_length=20, choices=AccountKind)
    owner_id = models.TextField(_("owner"))
    currency = models.CharField(_("currency"), max_length=3, default="USD", db_default="USD")
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "ledger_accounts"
        verbose_name = _("ledger account")
        verbose_name_plural = _("ledger accounts")
        constraints = [
            models.UniqueConstraint(fields=["kind", "owner_id", "currency"], name="ledger_accounts_one_per_owner"),
            models.CheckConstraint(condition=Q(kind__in=AccountKind.values), name="ledger_accounts_kind"),
            models.CheckConstraint(condition=~Q(owner_id=""), name="ledger_accounts_owner"),
        ]
        indexes = [models.Index(fields=["owner_id"], name="ledger_accounts_owner_id")]

    def __str__(self) -> str:
        return f"{self.kind}:{self.owner_id}"


class Wallet(models.Model):
    """The balance row of an account, in nano-USD: what is posted, what open holds keep, how far it may go below 0."""

    account = models.OneToOneField(
        LedgerAccount, models.PROTECT, primary_key=True, related_name="wallet", verbose_name=_("account")
    )
    posted = models.BigIntegerField(_("posted"), default=0, db_default=0)
    held = models.BigIntegerField(_("held"), default=0, db_default=0)
    overdraft = models.BigIntegerField(_("overdraft"), default=0, db_default=0)
    frozen_at = models.DateTimeField(_("frozen at"), null=True, blank=True)

    class Meta:
        db_table = "wallets"
        verbose_name = _("wallet")
        verbose_name_plural = _("wallets")
        constraints = [
            models.CheckConstraint(condition=Q(held__gte=0), name="wallets_held"),
            models.CheckConstraint(condition=Q(overdraft__gte=0, overdraft__lte=MAX_NANO), name="wallets_overdraft"),
        ]
        # None on a balance: postings then stay updates within the page.
        indexes = [
            models.Index(fields=["frozen_at"], condition=Q(frozen_at__isnull=False), name="wallets_frozen"),
        ]

    def __str__(self) -> str:
        return f"wallet {self.pk}"


class LedgerTransaction(models.Model):
    """The header of a balanced set of entries. It is inserted after them and never changes."""

    kind = models.CharField(_("kind"), max_length=40)
    idempotency_key = models.TextField(_("idempotency key"))
    request_hash = models.CharField(_("content hash"), max_length=64)
    reverses = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
        db_column="reverses",
        related_name="reversals",
        verbose_name=_("reverses"),
    )
    memo = models.JSONField(_("memo"), default=dict)
    actor = models.TextField(_("actor"))
    effective_at = models.DateTimeField(_("effective at"))
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "ledger_transactions"
        verbose_name = _("ledger transaction")
        verbose_name_plural = _("ledger transactions")
        constraints = [
            models.UniqueConstraint(fields=["idempotency_key"], name="ledger_transactions_idempotency_key"),
            models.UniqueConstraint(
                fields=["reverses"], condition=Q(reverses__isnull=False), name="ledger_transactions_reversed_once"
            ),
            models.CheckConstraint(condition=~Q(kind="") & ~Q(idempotency_key=""), name="ledger_transactions_named"),
        ]
        indexes = [
            models.Index(KeyTextTransform("request_id", "memo"), name="ledger_transactions_request"),
            # For periods: a few kilobytes, and transactions take effect nearly in the order of their rows.
            BrinIndex(fields=["effective_at"], name="ledger_transactions_time", pages_per_range=64, autosummarize=True),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class LedgerEntry(models.Model):
    """One leg of a transaction, in nano-USD: a credit is positive, a debit negative."""

    transaction = models.ForeignKey(
        LedgerTransaction, models.PROTECT, related_name="entries", verbose_name=_("transaction")
    )
    # A trigger looks the accounts of a whole batch up at once: a foreign key's check of every single entry, at
    # commit, was a fifth of the time to post, and locked the rows of the busiest accounts.
    account = models.ForeignKey(
        LedgerAccount,
        models.PROTECT,
        db_constraint=False,
        db_index=False,
        related_name="entries",
        verbose_name=_("account"),
    )
    amount = models.BigIntegerField(_("amount"))

    class Meta:
        db_table = "ledger_entries"
        verbose_name = _("ledger entry")
        verbose_name_plural = _("ledger entries")
        constraints = [
            models.CheckConstraint(
                condition=~Q(amount=0) & Q(amount__gte=-MAX_NANO, amount__lte=MAX_NANO), name="ledger_entries_amount"
            )
        ]
        indexes = [models.Index(fields=["account", "id"], name="ledger_entries_statement")]

    def __str__(self) -> str:
        return f"entry {self.pk}"


class Hold(models.Model):
    """What a request may cost at most, kept back until its price is posted; amounts in nano-USD."""

    request_id = models.TextField(_("request"))
    # Taken only under the lock of a wallet that exists and is never deleted: a foreign key would check that again.
    account = models.ForeignKey(
        LedgerAccount,
        models.PROTECT,
        db_constraint=False,
        db_index=False,
        related_name="holds",
        verbose_name=_("account"),
    )
    amount = models.BigIntegerField(_("amount"))
    captured = models.BigIntegerField(_("captured"), default=0, db_default=0)
    state = models.CharField(_("state"), max_length=10, choices=HoldState, default=HoldState.OPEN, db_default="open")
    stage = models.CharField(
        _("stage"), max_length=10, choices=HoldStage, default=HoldStage.DISPATCHED, db_default="dispatched"
    )
    expires_at = models.DateTimeField(_("expires at"))
    memo = models.JSONField(_("memo"), default=dict)
    created_at = models.DateTimeField(_("created at"))
    resolved_at = models.DateTimeField(_("resolved at"), null=True, blank=True)

    class Meta:
        db_table = "holds"
        verbose_name = _("hold")
        verbose_name_plural = _("holds")
        constraints = [
            models.UniqueConstraint(fields=["request_id"], name="holds_request_id"),
            models.CheckConstraint(condition=Q(amount__gte=0, amount__lte=MAX_NANO), name="holds_amount"),
            models.CheckConstraint(
                condition=Q(captured=0) | Q(captured__gt=0, captured__lte=MAX_NANO, state="settled"),
                name="holds_captured",
            ),
            models.CheckConstraint(condition=Q(state__in=HoldState.values), name="holds_state"),
            models.CheckConstraint(condition=Q(stage__in=HoldStage.values), name="holds_stage"),
            models.CheckConstraint(
                condition=Q(state="open", resolved_at__isnull=True) | (~Q(state="open") & Q(resolved_at__isnull=False)),
                name="holds_resolved",
            ),
        ]
        indexes = [
            # For the sweeper only. Neither state nor stage is in the condition: metering stays an update within the
            # page, and no plan for "state = 'open'" can choose to walk all open holds.
            models.Index(fields=["expires_at"], condition=Q(resolved_at__isnull=True), name="holds_unresolved"),
        ]

    def __str__(self) -> str:
        return self.request_id
