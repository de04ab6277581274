"""Secrets: providers' keys of the four owners, and the secrets by which apps vouch for their users."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from apps.vault.fields import EncryptedField


class OwnerClass(models.TextChoices):
    """Whose key it is, hence who pays the provider."""

    PLATFORM = "platform", _("platform")
    OPERATOR = "operator", _("operator")
    DEVELOPER = "developer", _("developer")
    END_USER = "end_user", _("end user")


# The platform and the operator are one each: their keys name no owner.
OWNERLESS = (OwnerClass.PLATFORM.value, OwnerClass.OPERATOR.value)


class Status(models.TextChoices):
    ACTIVE = "active", _("active")
    DISABLED = "disabled", _("disabled")
    DELETED = "deleted", _("deleted")  # for good: the secret is erased, the row stays for the history


class Validation(models.TextChoices):
    """What a live call with a key came to."""

    NEVER = "never", _("not checked yet")
    OK = "ok", _("works")
    AUTH_FAILED = "auth_failed", _("refused by the provider")
    RESTRICTED = "restricted", _("known, but may not list models")
    NOT_SUPPORTED = "not_supported", _("cannot be checked for free")
    UNREACHABLE = "unreachable", _("provider out of reach")
    REFUSED_ADDRESS = "refused_address", _("address not allowed")
    UNCLEAR = "unclear", _("unclear answer")


class ProviderCredential(models.Model):
    """A key for a provider. Its secret, address, provider and owner never change: rotation makes a new row."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    owner_class = models.CharField(_("owner class"), max_length=16, choices=OwnerClass.choices)
    owner_id = models.CharField(
        _("owner id"), max_length=40, blank=True, help_text=_("Developer or end user; else empty.")
    )
    provider = models.ForeignKey(
        "catalog.Provider", on_delete=models.PROTECT, related_name="+", verbose_name=_("provider")
    )
    label = models.CharField(_("label"), max_length=200)
    secret = EncryptedField(_("secret"))
    hint = models.CharField(_("hint"), max_length=4, help_text=_("The last four characters of the secret."))
    base_url = models.CharField(_("base url"), max_length=500, blank=True, help_text=_("Empty: the provider's."))
    models_allowed = ArrayField(
        models.CharField(max_length=200),
        default=list,
        blank=True,
        verbose_name=_("models allowed"),
        help_text=_("Empty allows all."),
    )
    apps_allowed = ArrayField(
        models.CharField(max_length=40),
        default=list,
        blank=True,
        verbose_name=_("apps allowed"),
        help_text=_("Ids of apps. Empty allows all."),
    )
    features_allowed = ArrayField(
        models.CharField(max_length=64),
        default=list,
        blank=True,
        verbose_name=_("features allowed"),
        help_text=_("Keys of features. Empty allows all."),
    )
    weight = models.IntegerField(
        _("weight"), default=1, help_text=_("Its part of the calls among credentials of one priority.")
    )
    priority = models.IntegerField(_("priority"), default=100, help_text=_("Lower is tried first."))
    status = models.CharField(_("status"), max_length=16, choices=Status.choices, default=Status.ACTIVE)
    replaces = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="+", verbose_name=_("replaces")
    )
    last_used_at = models.DateTimeField(_("last used at"), null=True, blank=True)
    validation = models.CharField(_("validation"), max_length=16, choices=Validation.choices, default=Validation.NEVER)
    validation_status = models.PositiveSmallIntegerField(
        _("validation status"), null=True, blank=True, help_text=_("The answer's HTTP status.")
    )
    validation_ms = models.PositiveIntegerField(
        _("validation ms"), null=True, blank=True, help_text=_("Milliseconds the answer took.")
    )
    validated_at = models.DateTimeField(_("validated at"), null=True, blank=True)
    failing_since = models.DateTimeField(
        _("failing since"),
        null=True,
        blank=True,
        help_text=_("First of the calls in a row that the provider refused for this key."),
    )
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "provider_credentials"
        verbose_name = _("provider credential")
        verbose_name_plural = _("provider credentials")
        constraints = [
            models.CheckConstraint(
                condition=Q(owner_class__in=OwnerClass.values), name="provider_credentials_owner_class"
            ),
            models.CheckConstraint(
                condition=(Q(owner_class__in=OWNERLESS) & Q(owner_id=""))
                | (~Q(owner_class__in=OWNERLESS) & ~Q(owner_id="")),
                name="provider_credentials_owner_id",
            ),
            models.CheckConstraint(condition=Q(weight__gte=1, weight__lte=1000), name="provider_credentials_weight"),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="provider_credentials_status"),
            models.CheckConstraint(
                condition=Q(validation__in=Validation.values), name="provider_credentials_validation"
            ),
            models.CheckConstraint(
                condition=Q(validation=Validation.NEVER, validated_at=None)
                | (~Q(validation=Validation.NEVER) & ~Q(validated_at=None)),
                name="provider_credentials_validated_at",
            ),
        ]
        indexes = [
            models.Index(fields=["owner_class", "owner_id"], name="provider_credentials_owner"),
            models.Index(
                F("validated_at").asc(nulls_first=True),
                condition=Q(status=Status.ACTIVE),
                name="provider_credentials_validated",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.label} ({self.id})"


class CredentialHealth(models.Model):
    """What the regular checks of a shared key have come to. A key that is `down` is passed over until one succeeds."""

    credential = models.OneToOneField(
        ProviderCredential,
        primary_key=True,
        on_delete=models.CASCADE,
        related_name="health",
        verbose_name=_("credential"),
    )
    down = models.BooleanField(_("down"), default=False)
    consecutive_failures = models.PositiveIntegerField(_("consecutive failures"), default=0)
    result = models.CharField(_("result"), max_length=16, choices=Validation.choices)
    http_status = models.PositiveSmallIntegerField(_("http status"), null=True, blank=True)
    latency_ms = models.PositiveIntegerField(_("latency ms"), null=True, blank=True)
    checked_at = models.DateTimeField(_("checked at"))
    changed_at = models.DateTimeField(_("changed at"), help_text=_("When it went down or came back."))

    class Meta:
        db_table = "credential_health"
        verbose_name = _("credential health")
        verbose_name_plural = _("credential healths")
        constraints = [
            models.CheckConstraint(condition=Q(result__in=Validation.values), name="credential_health_result"),
            models.CheckConstraint(
                condition=Q(down=False) | Q(consecutive_failures__gt=0), name="credential_health_down"
            ),
        ]

    def __str__(self) -> str:
        return self.credential_id


class FeeMode(models.TextChoices):
    """Ways of a call whose fee end users acknowledge first."""

    BYOK = "byok", _("own key")
    LOCAL = "local", _("local model")


class FeeConsent(models.Model):
    """That an end user was told a fee, in these words, and took note of it. Append-only."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    end_user_id = models.CharField(_("end user id"), max_length=40)
    app_id = models.CharField(_("app id"), max_length=40)
    mode = models.CharField(_("mode"), max_length=8, choices=FeeMode.choices)
    fee_nano = models.BigIntegerField(_("fee nano"), help_text=_("nano-USD per answered request."))
    text = models.TextField(_("text"), help_text=_("What was shown."))
    acknowledged_at = models.DateTimeField(_("acknowledged at"))

    class Meta:
        db_table = "fee_consents"
        verbose_name = _("fee consent")
        verbose_name_plural = _("fee consents")
        constraints = [
            models.CheckConstraint(condition=Q(mode__in=FeeMode.values), name="fee_consents_mode"),
            models.CheckConstraint(condition=Q(fee_nano__gte=0), name="fee_consents_fee"),
            models.CheckConstraint(condition=~Q(end_user_id="") & ~Q(text=""), name="fee_consents_not_blank"),
        ]
        indexes = [models.Index(fields=["end_user_id", "mode", "-fee_nano"], name="fee_consents_end_user")]

    def __str__(self) -> str:
        return self.id


class AppSecret(models.Model):
    """What an app's backend signs user tokens with, or shows to open sessions. Several may be valid at a time."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    app = models.ForeignKey("features.App", on_delete=models.PROTECT, related_name="+", verbose_name=_("app"))
    secret = EncryptedField(_("secret"))
    secret_hash = models.CharField(_("secret hash"), max_length=64, unique=True)
    hint = models.CharField(_("hint"), max_length=4, help_text=_("The last four characters of the secret."))
    created_at = models.DateTimeField(_("created at"))
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True)

    class Meta:
        db_table = "app_secrets"
        verbose_name = _("app secret")
        verbose_name_plural = _("app secrets")

    def __str__(self) -> str:
        return self.id
