"""What a wallet's money consists of: lots and what was drawn from them, promo codes, allowances, limits, notices."""

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from apps.core.money import MAX_NANO

__all__ = [
    "AppAllowance",
    "Audience",
    "CreditLot",
    "DrawKind",
    "LotDraw",
    "LotKind",
    "Notice",
    "NoticeKind",
    "PromoCode",
    "PromoRedemption",
    "WalletLimit",
]


class LotKind(models.TextChoices):
    """Where credit comes from; in the order in which it is consumed."""

    ALLOWANCE = "allowance", _("included allowance")
    PROMO = "promo", _("promotion")
    GRANT = "grant", _("grant")
    OTHER = "other", _("other")
    PAID = "paid", _("paid")


class DrawKind(models.TextChoices):
    """Why a lot became smaller; restored: what was taken came back."""

    SPENT = "spent", _("spent")
    EXPIRED = "expired", _("expired")
    REFUNDED = "refunded", _("refunded")
    DISPUTED = "disputed", _("disputed")
    RESTORED = "restored", _("restored")


class Audience(models.TextChoices):
    """Who may redeem a code."""

    END_USER = "end_user", _("end users")
    DEVELOPER = "developer", _("developers")


class NoticeKind(models.TextChoices):
    """What is told. The column is open text: other topics may add kinds of their own."""

    LOW_BALANCE = "low_balance", _("Balance is low")
    CREDIT_EXPIRING = "credit_expiring", _("Credit expires soon")


class CreditLot(models.Model):
    """Credit that came into a wallet at one time; in nano-USD. Only what remains of it changes."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    account_id = models.BigIntegerField(_("account"))
    kind = models.CharField(_("kind"), max_length=12, choices=LotKind)
    amount_nano = models.BigIntegerField(_("amount"))
    remaining_nano = models.BigIntegerField(_("remaining"))
    balance_nano = models.BigIntegerField(
        _("balance afterwards"), help_text=_("What the wallet had with this lot, in nano-USD.")
    )
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    transaction_id = models.BigIntegerField(
        _("transaction"), null=True, blank=True, help_text=_("What credited it; empty: found when lots were drawn.")
    )
    origin_account_id = models.BigIntegerField(
        _("origin"), null=True, blank=True, help_text=_("The account to which what expires goes back.")
    )
    reference = models.CharField(_("reference"), max_length=200, blank=True)
    created_at = models.DateTimeField(_("created at"))
    closed_at = models.DateTimeField(_("closed at"), null=True, blank=True)

    class Meta:
        db_table = "credit_lots"
        verbose_name = _("credit lot")
        verbose_name_plural = _("credit lots")
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=LotKind.values), name="credit_lots_kind"),
            models.CheckConstraint(
                condition=Q(amount_nano__gt=0, amount_nano__lte=MAX_NANO), name="credit_lots_amount"
            ),
            models.CheckConstraint(
                condition=Q(remaining_nano__gte=0, remaining_nano__lte=F("amount_nano")), name="credit_lots_remaining"
            ),
            models.CheckConstraint(
                condition=Q(remaining_nano=0, closed_at__isnull=False)
                | Q(remaining_nano__gt=0, closed_at__isnull=True),
                name="credit_lots_closed",
            ),
            models.CheckConstraint(
                condition=Q(kind=LotKind.OTHER) | Q(transaction_id__isnull=False), name="credit_lots_credited"
            ),
            # One posting credits a wallet with one lot: a path that is walked again adds nothing.
            models.UniqueConstraint(
                fields=["transaction_id", "account_id"],
                condition=Q(transaction_id__isnull=False),
                name="credit_lots_once",
            ),
        ]
        indexes = [
            models.Index(fields=["account_id", "id"], name="credit_lots_account"),
            models.Index(
                fields=["account_id"],
                include=["remaining_nano"],
                condition=Q(closed_at__isnull=True),
                name="credit_lots_open",
            ),
            models.Index(
                fields=["expires_at"],
                condition=Q(closed_at__isnull=True, expires_at__isnull=False),
                name="credit_lots_expiring",
            ),
            models.Index(fields=["reference"], condition=~Q(reference=""), name="credit_lots_reference"),
        ]

    def __str__(self) -> str:
        return self.id


class LotDraw(models.Model):
    """What was taken from a lot (negative: what came back to it), in nano-USD."""

    lot = models.ForeignKey(CreditLot, models.PROTECT, related_name="draws", verbose_name=_("lot"))
    amount_nano = models.BigIntegerField(_("amount"))
    kind = models.CharField(_("kind"), max_length=12, choices=DrawKind)
    transaction_id = models.BigIntegerField(
        _("transaction"), null=True, blank=True, help_text=_("What took it; empty for what was spent.")
    )
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "lot_draws"
        verbose_name = _("lot draw")
        verbose_name_plural = _("lot draws")
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=DrawKind.values), name="lot_draws_kind"),
            models.CheckConstraint(
                condition=Q(amount_nano__gt=0, amount_nano__lte=MAX_NANO) & ~Q(kind="restored")
                | Q(amount_nano__lt=0, amount_nano__gte=-MAX_NANO, kind="restored"),
                name="lot_draws_amount",
            ),
            models.CheckConstraint(condition=Q(kind="spent") | Q(transaction_id__isnull=False), name="lot_draws_cause"),
        ]
        indexes = [
            models.Index(
                fields=["transaction_id"], condition=Q(transaction_id__isnull=False), name="lot_draws_transaction"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class PromoCode(models.Model):
    """A word that brings credit, once for each wallet; amounts in nano-USD."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    code = models.CharField(_("code"), max_length=40, unique=True)
    amount_nano = models.BigIntegerField(_("amount"))
    audience = models.CharField(_("for"), max_length=10, choices=Audience, default=Audience.END_USER)
    app_id = models.CharField(
        _("app"), max_length=40, blank=True, help_text=_("Only for end users of this app; empty: of any.")
    )
    developer_id = models.CharField(
        _("developer"), max_length=40, blank=True, help_text=_("Only for this developer, or end users of its apps.")
    )
    max_redemptions = models.IntegerField(_("most redemptions"), null=True, blank=True)
    redemptions = models.IntegerField(_("redemptions"), default=0)
    valid_from = models.DateTimeField(_("valid from"))
    valid_until = models.DateTimeField(_("valid until"), null=True, blank=True)
    credit_days = models.IntegerField(
        _("days of the credit"), null=True, blank=True, help_text=_("How long the credit lasts; empty: for good.")
    )
    note = models.CharField(_("note"), max_length=300, blank=True)
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(_("created by"), max_length=100)

    class Meta:
        db_table = "promo_codes"
        verbose_name = _("promo code")
        verbose_name_plural = _("promo codes")
        constraints = [
            models.CheckConstraint(
                condition=Q(amount_nano__gt=0, amount_nano__lte=MAX_NANO), name="promo_codes_amount"
            ),
            models.CheckConstraint(condition=Q(audience__in=Audience.values), name="promo_codes_audience"),
            models.CheckConstraint(
                condition=Q(redemptions__gte=0)
                & (
                    Q(max_redemptions__isnull=True)
                    | Q(max_redemptions__gte=F("redemptions")) & Q(max_redemptions__gte=1)
                ),
                name="promo_codes_redemptions",
            ),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gt=F("valid_from")), name="promo_codes_validity"
            ),
            models.CheckConstraint(
                condition=Q(credit_days__isnull=True) | Q(credit_days__gte=1, credit_days__lte=3650),
                name="promo_codes_credit_days",
            ),
            models.CheckConstraint(condition=~Q(code=""), name="promo_codes_code"),
        ]

    def __str__(self) -> str:
        return self.code


class PromoRedemption(models.Model):
    """That a wallet got the credit of a code."""

    promo_code = models.ForeignKey(
        PromoCode, models.PROTECT, related_name="redeemed", verbose_name=_("promo code"), db_index=False
    )
    account_id = models.BigIntegerField(_("account"))
    lot_id = models.CharField(_("lot"), max_length=40, unique=True)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "promo_redemptions"
        verbose_name = _("promo redemption")
        verbose_name_plural = _("promo redemptions")
        constraints = [
            models.UniqueConstraint(fields=["promo_code", "account_id"], name="promo_redemptions_once"),
        ]
        indexes = [models.Index(fields=["account_id"], name="promo_redemptions_account")]

    def __str__(self) -> str:
        return f"{self.promo_code_id} {self.account_id}"


class AppAllowance(models.Model):
    """What each end user of an app has included a month, in nano-USD; the app's allowance account pays."""

    app_id = models.CharField(_("app"), max_length=40, primary_key=True)
    monthly_nano = models.BigIntegerField(_("a month"))
    changed_at = models.DateTimeField(_("changed at"))
    changed_by = models.CharField(_("changed by"), max_length=100)

    class Meta:
        db_table = "app_allowances"
        verbose_name = _("app allowance")
        verbose_name_plural = _("app allowances")
        constraints = [
            models.CheckConstraint(
                condition=Q(monthly_nano__gte=0, monthly_nano__lte=MAX_NANO), name="app_allowances_monthly"
            )
        ]

    def __str__(self) -> str:
        return self.app_id


class WalletLimit(models.Model):
    """Where one wallet's limits differ from the settings, in nano-USD; empty: as the settings say."""

    account_id = models.BigIntegerField(_("account"), primary_key=True)
    max_balance_nano = models.BigIntegerField(_("maximum balance"), null=True, blank=True)
    daily_spend_nano = models.BigIntegerField(_("daily spend"), null=True, blank=True)
    low_balance_nano = models.BigIntegerField(_("low balance"), null=True, blank=True)
    changed_at = models.DateTimeField(_("changed at"))
    changed_by = models.CharField(_("changed by"), max_length=100)

    class Meta:
        db_table = "wallet_limits"
        verbose_name = _("wallet limit")
        verbose_name_plural = _("wallet limits")
        constraints = [
            models.CheckConstraint(
                condition=Q(**{f"{name}__isnull": True}) | Q(**{f"{name}__gte": 0, f"{name}__lte": MAX_NANO}),
                name=f"wallet_limits_{name.removesuffix('_nano')}",
            )
            for name in ("max_balance_nano", "daily_spend_nano", "low_balance_nano")
        ]

    def __str__(self) -> str:
        return str(self.account_id)


class Notice(models.Model):
    """Something that a wallet's owner was told, once for each thing that happened."""

    account_id = models.BigIntegerField(_("account"))
    kind = models.CharField(_("kind"), max_length=40)
    period_key = models.CharField(_("what for"), max_length=100)
    data = models.JSONField(_("data"), default=dict)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "billing_notices"
        verbose_name = _("notice")
        verbose_name_plural = _("notices")
        constraints = [
            models.UniqueConstraint(fields=["account_id", "kind", "period_key"], name="billing_notices_once"),
            models.CheckConstraint(condition=~Q(kind="") & ~Q(period_key=""), name="billing_notices_named"),
        ]
        indexes = [models.Index(fields=["account_id", "-id"], name="billing_notices_account")]

    def __str__(self) -> str:
        return f"{self.kind} {self.period_key}"
