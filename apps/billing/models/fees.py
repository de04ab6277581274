"""The catalogue of fees beside the fee per request: what they are for, who agreed to them, and what was charged."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from apps.core.money import MAX_NANO


class FeeRoute(models.TextChoices):
    """Which calls a fee is for."""

    BYOK = "byok", _("own key")
    LOCAL = "local", _("local model")
    ANY = "any", _("any")


class FeeType(models.TextChoices):
    GATEWAY = "gateway_fee", _("gateway fee")
    PREMIUM = "premium_subscription", _("premium subscription")
    TEAM = "team_fee", _("team fee")
    AUDIT = "audit_fee", _("audit and compliance fee")
    LICENCE = "licence", _("licence for local deployment")
    BRIDGE_PRO = "bridge_pro", _("Local Bridge Pro")
    CONSOLE = "console", _("management console")
    SECURITY = "security_policy", _("audit and security policy")
    PRIVATE_DEPLOYMENT = "private_deployment", _("private deployment service")


class FeeInterval(models.TextChoices):
    MONTH = "month", _("every month")
    ONCE = "once", _("once")


class FeeSubscriptionStatus(models.TextChoices):
    """Suspended: the wallet did not cover a month. Cancelled: in force until what is paid is over."""

    ACTIVE = "active", _("active")
    SUSPENDED = "suspended", _("suspended")
    CANCELLED = "cancelled", _("cancelled")
    ENDED = "ended", _("ended")


class Fee(models.Model):
    """One version of a fee of the catalogue. Never edited: a change is the next version, and binds who agrees to it."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    key = models.SlugField(_("key"), max_length=40)
    version = models.IntegerField(_("version"))
    name = models.CharField(_("name"), max_length=100)
    type = models.CharField(_("type"), max_length=30, choices=FeeType)
    route = models.CharField(_("route"), max_length=8, choices=FeeRoute)
    amount_nano = models.BigIntegerField(_("amount"))
    interval = models.CharField(_("charged"), max_length=8, choices=FeeInterval)
    developer_share_bps = models.IntegerField(_("developer's share in basis points"), default=0)
    disclosure_en = models.TextField(_("what it is for, in English"))
    disclosure_zh = models.TextField(_("what it is for, in Chinese"))
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(_("created by"), max_length=100)

    class Meta:
        db_table = "fees"
        verbose_name = _("fee")
        verbose_name_plural = _("fees")
        constraints = [
            models.UniqueConstraint(fields=["key", "version"], name="fees_version"),
            models.CheckConstraint(condition=Q(version__gte=1), name="fees_version_positive"),
            models.CheckConstraint(condition=Q(type__in=FeeType.values), name="fees_type"),
            models.CheckConstraint(condition=Q(route__in=FeeRoute.values), name="fees_route"),
            models.CheckConstraint(condition=Q(interval__in=FeeInterval.values), name="fees_interval"),
            models.CheckConstraint(condition=Q(amount_nano__gt=0, amount_nano__lte=MAX_NANO), name="fees_amount"),
            models.CheckConstraint(
                condition=Q(developer_share_bps__gte=0, developer_share_bps__lte=10_000), name="fees_share"
            ),
            models.CheckConstraint(condition=~Q(disclosure_en="") & ~Q(disclosure_zh=""), name="fees_disclosed"),
        ]

    def __str__(self) -> str:
        return f"{self.key} v{self.version}"


class AppFee(models.Model):
    """That an app charges a fee of the catalogue: required for calls of its route, or merely offered."""

    app_id = models.CharField(_("app"), max_length=40)
    fee_key = models.CharField(_("fee"), max_length=40)
    required = models.BooleanField(
        _("required"),
        default=False,
        help_text=_("Calls of the fee's route are refused until it is agreed to and paid."),
    )
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(_("created by"), max_length=100)
    withdrawn_at = models.DateTimeField(_("withdrawn at"), null=True, blank=True)

    class Meta:
        db_table = "app_fees"
        verbose_name = _("fee of an app")
        verbose_name_plural = _("fees of apps")
        constraints = [
            models.UniqueConstraint(fields=["app_id", "fee_key"], condition=Q(withdrawn_at=None), name="app_fees_once")
        ]

    def __str__(self) -> str:
        return f"{self.app_id} {self.fee_key}"


class FeeSubscription(models.Model):
    """An end user's consent to a fee, with the very words, and how far it is paid. What was agreed to never changes."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    end_user_id = models.CharField(_("end user"), max_length=40)
    app_id = models.CharField(_("app"), max_length=40)
    developer_id = models.CharField(_("developer"), max_length=40)
    fee = models.ForeignKey(Fee, models.PROTECT, related_name="subscriptions", verbose_name=_("fee"))
    fee_key = models.CharField(_("key of the fee"), max_length=40)
    amount_nano = models.BigIntegerField(_("amount"))
    text = models.TextField(_("what was shown"))
    language = models.CharField(_("language"), max_length=10)
    acknowledged_at = models.DateTimeField(_("acknowledged at"))
    status = models.CharField(_("status"), max_length=10, choices=FeeSubscriptionStatus)
    periods = models.IntegerField(_("periods charged"), default=0)
    anchor_at = models.DateTimeField(_("months are counted from"))
    anchor_periods = models.IntegerField(_("months since then"), default=0)
    paid_until = models.DateTimeField(_("paid until"), null=True, blank=True, help_text=_("Empty: for good."))
    suspended_at = models.DateTimeField(_("suspended at"), null=True, blank=True)
    cancelled_at = models.DateTimeField(_("cancelled at"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)

    class Meta:
        db_table = "fee_subscriptions"
        verbose_name = _("subscription to a fee")
        verbose_name_plural = _("subscriptions to fees")
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=FeeSubscriptionStatus.values), name="fee_subscriptions_status"
            ),
            models.CheckConstraint(condition=Q(amount_nano__gt=0) & ~Q(text=""), name="fee_subscriptions_disclosed"),
            models.CheckConstraint(
                condition=Q(status="ended", ended_at__isnull=False) | (~Q(status="ended") & Q(ended_at=None)),
                name="fee_subscriptions_ended",
            ),
            models.CheckConstraint(
                condition=~Q(status="suspended") | Q(suspended_at__isnull=False), name="fee_subscriptions_suspended"
            ),
            models.CheckConstraint(
                condition=Q(periods__gte=0, anchor_periods__gte=0), name="fee_subscriptions_periods"
            ),
            models.UniqueConstraint(
                fields=["end_user_id", "fee_key"], condition=~Q(status="ended"), name="fee_subscriptions_one_open"
            ),
        ]
        indexes = [
            models.Index(fields=["paid_until"], condition=~Q(status="ended"), name="fee_subscriptions_due"),
            models.Index(fields=["app_id", "fee_key"], name="fee_subscriptions_app"),
        ]

    def __str__(self) -> str:
        return self.id


class FeeCharge(models.Model):
    """One period of a fee, charged once. Append-only; a trigger compares it with what was acknowledged."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    subscription = models.ForeignKey(
        FeeSubscription, models.PROTECT, related_name="charges", verbose_name=_("subscription")
    )
    period = models.IntegerField(_("period"), help_text=_("1 is the first."))
    amount_nano = models.BigIntegerField(_("amount"))
    developer_nano = models.BigIntegerField(_("developer's share"))
    transaction_id = models.BigIntegerField(_("ledger transaction"), unique=True)
    period_start = models.DateTimeField(_("period from"))
    period_end = models.DateTimeField(_("period to"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "fee_charges"
        verbose_name = _("charge of a fee")
        verbose_name_plural = _("charges of fees")
        constraints = [
            models.UniqueConstraint(fields=["subscription", "period"], name="fee_charges_once"),
            models.CheckConstraint(
                condition=Q(period__gte=1, amount_nano__gt=0, developer_nano__gte=0), name="fee_charges_amounts"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subscription_id}:{self.period}"
