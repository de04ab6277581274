"""Apps, their features and terms, and whom a token stands for."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

# A million USD for one request: far above any price, far below what could overflow a sum.
MAX_PRICE = 10**15
MAX_MARKUP_BPS = 1_000_000


class Status(models.TextChoices):
    ACTIVE = "active", _("active")
    DISABLED = "disabled", _("disabled")


class Assurance(models.TextChoices):
    """How sure we are who the user of a session is."""

    USER_TOKEN = "user_token", _("user token signed by the app")
    APP_SECRET = "app_secret", _("app secret, server to server")
    ANONYMOUS = "anonymous", _("anonymous device")


class ManifestFormat(models.TextChoices):
    YAML = "yaml", "YAML"
    JSON = "json", "JSON"


class PlatformPricing(models.TextChoices):
    MARKUP = "markup", _("markup on cost")
    FIXED = "fixed", _("fixed price per request")


class DeveloperPricing(models.TextChoices):
    FEE_ONLY = "fee_only", _("gateway fee only")
    MARKUP_SHARE = "markup_share", _("markup, shared")
    OWN_PRICE = "own_price", _("the developer's own price")


class PricingTerms(models.Model):
    """What a request costs its payer and how the margin is split. Never edited: new terms are a new row."""

    platform_pricing = models.CharField(
        _("platform pricing"), max_length=16, choices=PlatformPricing.choices, default=PlatformPricing.MARKUP
    )
    markup_bps = models.IntegerField(_("markup bps"), default=0, help_text=_("Basis points added to the cost."))
    fixed_price = models.BigIntegerField(_("fixed price"), default=0, help_text=_("nano-USD per request."))
    developer_pricing = models.CharField(
        _("developer pricing"), max_length=16, choices=DeveloperPricing.choices, default=DeveloperPricing.FEE_ONLY
    )
    own_price = models.BigIntegerField(_("own price"), default=0, help_text=_("nano-USD per request."))
    gateway_fee = models.BigIntegerField(
        _("gateway fee"), default=0, help_text=_("nano-USD per request on the developer's key.")
    )
    byok_fee = models.BigIntegerField(
        _("byok fee"), default=0, help_text=_("nano-USD per request on the end user's own key.")
    )
    local_fee = models.BigIntegerField(_("local fee"), default=0, help_text=_("nano-USD per request on a local model."))
    share_bps = models.IntegerField(
        _("share bps"), default=0, help_text=_("Basis points of the margin that the developer earns.")
    )
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "pricing_terms"
        verbose_name = _("pricing terms")
        verbose_name_plural = _("pricing terms")
        constraints = [
            models.CheckConstraint(
                condition=Q(platform_pricing__in=PlatformPricing.values), name="pricing_terms_platform_pricing"
            ),
            models.CheckConstraint(
                condition=Q(developer_pricing__in=DeveloperPricing.values), name="pricing_terms_developer_pricing"
            ),
            models.CheckConstraint(
                condition=Q(markup_bps__gte=0, markup_bps__lte=MAX_MARKUP_BPS), name="pricing_terms_markup_bps"
            ),
            models.CheckConstraint(
                condition=Q(share_bps__gte=0, share_bps__lte=10_000), name="pricing_terms_share_bps"
            ),
            *(
                models.CheckConstraint(
                    condition=Q(**{f"{name}__gte": 0, f"{name}__lte": MAX_PRICE}), name=f"pricing_terms_{name}"
                )
                for name in ("fixed_price", "own_price", "gateway_fee", "byok_fee", "local_fee")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pk}: {self.platform_pricing}, {self.markup_bps} bps, share {self.share_bps} bps"


class App(models.Model):
    """An application of a developer, through which end users reach models."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    public_id = models.CharField(_("public id"), max_length=60, unique=True)
    developer = models.ForeignKey(
        "developers.Developer", on_delete=models.PROTECT, related_name="+", verbose_name=_("developer")
    )
    name = models.CharField(_("name"), max_length=200)
    status = models.CharField(_("status"), max_length=16, choices=Status.choices, default=Status.ACTIVE)
    suspended = models.BooleanField(
        _("suspended"),
        default=False,
        help_text=_("The operator switched it off: its developer cannot switch it on again."),
    )
    allowed_origins = ArrayField(
        models.CharField(max_length=300), default=list, blank=True, verbose_name=_("allowed origins")
    )
    terms = models.ForeignKey(PricingTerms, on_delete=models.PROTECT, related_name="+", verbose_name=_("terms"))
    anonymous_allowance = models.BigIntegerField(
        _("anonymous allowance"),
        default=0,
        help_text=_("nano-USD granted to each anonymous device; 0 refuses anonymous sessions."),
    )
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "apps"
        verbose_name = _("app")
        verbose_name_plural = _("apps")
        constraints = [
            models.CheckConstraint(condition=Q(status__in=Status.values), name="apps_status"),
            models.CheckConstraint(condition=Q(suspended=False) | ~Q(status=Status.ACTIVE), name="apps_suspended"),
            models.CheckConstraint(
                condition=Q(anonymous_allowance__gte=0, anonymous_allowance__lte=MAX_PRICE),
                name="apps_anonymous_allowance",
            ),
            # The target of the composite foreign key that keeps a virtual key with its app's developer.
            models.UniqueConstraint(fields=["developer", "id"], name="apps_developer_id"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


class AppFeature(models.Model):
    """A named use of models within an app: which models, how long an answer, on which terms."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    app = models.ForeignKey(App, on_delete=models.PROTECT, related_name="features", verbose_name=_("app"))
    key = models.SlugField(_("key"), max_length=64)
    name = models.CharField(_("name"), max_length=200)
    status = models.CharField(_("status"), max_length=16, choices=Status.choices, default=Status.ACTIVE)
    models_allowed = ArrayField(
        models.CharField(max_length=200),
        default=list,
        blank=True,
        verbose_name=_("models allowed"),
        help_text=_("Allowed models; empty allows all."),
    )
    default_model = models.CharField(
        _("default model"), max_length=200, blank=True, help_text=_("Used when a request names no model.")
    )
    max_output_tokens = models.IntegerField(
        _("max output tokens"),
        help_text=_("Longest answer in tokens: taken when a request names none, and the most it may name."),
    )
    affordable_clamp = models.BooleanField(
        _("affordable clamp"),
        default=True,
        help_text=_("Shorten the answer to what the balance affords instead of refusing."),
    )
    terms = models.ForeignKey(
        PricingTerms,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("terms"),
        help_text=_("Empty: the app's."),
    )
    manifest = models.ForeignKey(
        "FeatureManifest",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("manifest"),
        help_text=_("The version in force; empty: every default."),
    )
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "app_features"
        verbose_name = _("app feature")
        verbose_name_plural = _("app features")
        constraints = [
            models.UniqueConstraint(fields=["app", "key"], name="app_features_app_key"),
            # The target of the composite foreign keys that keep a token's feature inside its app.
            models.UniqueConstraint(fields=["app", "id"], name="app_features_app_id"),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="app_features_status"),
            models.CheckConstraint(
                condition=Q(max_output_tokens__gte=1, max_output_tokens__lte=10_000_000),
                name="app_features_max_output_tokens",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.key} ({self.id})"


class FeatureManifest(models.Model):
    """One version of what a feature's developer says about its calls. Never edited: a change is the next version."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    feature = models.ForeignKey(AppFeature, on_delete=models.PROTECT, related_name="+", verbose_name=_("feature"))
    number = models.IntegerField(_("number"), help_text=_("1 is the feature's first."))
    manifest = models.JSONField(_("manifest"), help_text=_("As read: only what is not a default."))
    source = models.TextField(_("source"), help_text=_("As written."))
    source_format = models.CharField(_("source format"), max_length=8, choices=ManifestFormat.choices)
    created_by = models.CharField(_("created by"), max_length=100)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "feature_manifests"
        verbose_name = _("feature manifest")
        verbose_name_plural = _("feature manifests")
        constraints = [
            models.UniqueConstraint(fields=["feature", "number"], name="feature_manifests_feature_number"),
            # The target of the composite foreign key that keeps a feature to manifests of its own.
            models.UniqueConstraint(fields=["feature", "id"], name="feature_manifests_feature_id"),
            models.CheckConstraint(condition=Q(number__gte=1), name="feature_manifests_number"),
            models.CheckConstraint(
                condition=Q(source_format__in=ManifestFormat.values), name="feature_manifests_source_format"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number} ({self.id})"


class EndUser(models.Model):
    """A user of one app, known only by a keyed hash of the id that the app gave, or of a device id."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    app = models.ForeignKey(App, on_delete=models.PROTECT, related_name="+", verbose_name=_("app"))
    external_hash = models.CharField(_("external hash"), max_length=64)
    anonymous = models.BooleanField(_("anonymous"), default=False)
    status = models.CharField(_("status"), max_length=16, choices=Status.choices, default=Status.ACTIVE)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "end_users"
        verbose_name = _("end user")
        verbose_name_plural = _("end users")
        constraints = [
            models.UniqueConstraint(fields=["app", "external_hash"], name="end_users_app_external_hash"),
            models.UniqueConstraint(fields=["app", "id"], name="end_users_app_id"),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="end_users_status"),
        ]

    def __str__(self) -> str:
        return self.id


class VirtualSession(models.Model):
    """A short-lived token that lets one end user call one feature; without a feature, the app's `default`."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    token_hash = models.CharField(_("token hash"), max_length=64, unique=True)
    app = models.ForeignKey(App, on_delete=models.PROTECT, related_name="+", verbose_name=_("app"))
    feature = models.ForeignKey(
        AppFeature, null=True, blank=True, on_delete=models.PROTECT, related_name="+", verbose_name=_("feature")
    )
    end_user = models.ForeignKey(EndUser, on_delete=models.PROTECT, related_name="+", verbose_name=_("end user"))
    assurance = models.CharField(_("assurance"), max_length=16, choices=Assurance.choices)
    expires_at = models.DateTimeField(_("expires at"))
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "virtual_sessions"
        verbose_name = _("virtual session")
        verbose_name_plural = _("virtual sessions")
        constraints = [
            models.CheckConstraint(condition=Q(assurance__in=Assurance.values), name="virtual_sessions_assurance"),
            models.CheckConstraint(condition=Q(expires_at__gt=F("created_at")), name="virtual_sessions_expires_at"),
        ]

    def __str__(self) -> str:
        return self.id


class PageLink(models.Model):
    """A way to an end user's own pages: a link that opens them once, soon, for as long as its session lives."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    code_hash = models.CharField(_("hash of the code"), max_length=64, unique=True)
    session = models.ForeignKey(VirtualSession, on_delete=models.PROTECT, related_name="+", verbose_name=_("session"))
    expires_at = models.DateTimeField(_("expires at"), help_text=_("It opens nothing from then on."))
    opened_at = models.DateTimeField(_("opened at"), null=True, blank=True, help_text=_("It opens nothing again."))
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "page_links"
        verbose_name = _("link to a user's pages")
        verbose_name_plural = _("links to users' pages")
        constraints = [
            models.CheckConstraint(condition=Q(expires_at__gt=F("created_at")), name="page_links_expires_at"),
            models.CheckConstraint(
                condition=Q(opened_at=None) | Q(opened_at__lt=F("expires_at")), name="page_links_opened_in_time"
            ),
        ]
        indexes = [models.Index(fields=["expires_at"], name="page_links_expiry")]

    def __str__(self) -> str:
        return self.id


class VirtualKey(models.Model):
    """A long-lived token of a developer's own programs; what it buys is paid from the developer's prepaid credit."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    token_hash = models.CharField(_("token hash"), max_length=64, unique=True)
    hint = models.CharField(_("hint"), max_length=4, help_text=_("The last four characters of the key."))
    name = models.CharField(_("name"), max_length=200)
    app = models.ForeignKey(App, on_delete=models.PROTECT, related_name="+", verbose_name=_("app"))
    feature = models.ForeignKey(
        AppFeature, null=True, blank=True, on_delete=models.PROTECT, related_name="+", verbose_name=_("feature")
    )
    developer = models.ForeignKey(
        "developers.Developer", on_delete=models.PROTECT, related_name="+", verbose_name=_("developer")
    )
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "virtual_keys"
        verbose_name = _("virtual key")
        verbose_name_plural = _("virtual keys")
        constraints = [
            models.CheckConstraint(
                condition=Q(expires_at__isnull=True) | Q(expires_at__gt=F("created_at")), name="virtual_keys_expires_at"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


class Entitlement(models.Model):
    """What a developer's plan lets it do, kept by billing. Without a row, the one without a developer is in force.

    Nothing is limited where there is neither, and by a column that is null.
    """

    developer_id = models.CharField(_("developer"), max_length=40, primary_key=True, help_text=_("Empty: all others."))
    plan = models.CharField(_("plan"), max_length=40)
    upgrade = models.CharField(_("next plan"), max_length=40, blank=True)
    tokens_per_month = models.BigIntegerField(_("tokens per month"), null=True)
    max_virtual_keys = models.IntegerField(_("virtual keys"), null=True)
    retention_days = models.IntegerField(_("retention in days"), null=True)
    gates = ArrayField(models.CharField(max_length=40), verbose_name=_("features included"), default=list)
    spent_tokens = models.BigIntegerField(
        _("tokens spent"), null=True, help_text=_("When the limit was found reached.")
    )
    spent_until = models.DateTimeField(_("refused until"), null=True, help_text=_("Calls are refused until then."))
    changed_at = models.DateTimeField(_("changed at"))

    class Meta:
        db_table = "developer_entitlements"
        verbose_name = _("entitlement")
        verbose_name_plural = _("entitlements")
        constraints = [
            models.CheckConstraint(
                condition=(Q(tokens_per_month=None) | Q(tokens_per_month__gte=0))
                & (Q(max_virtual_keys=None) | Q(max_virtual_keys__gte=0))
                & (Q(retention_days=None) | Q(retention_days__gte=1)),
                name="developer_entitlements_limits",
            ),
            models.CheckConstraint(
                condition=Q(spent_tokens=None, spent_until=None)
                | Q(spent_tokens__isnull=False, spent_until__isnull=False, tokens_per_month__isnull=False),
                name="developer_entitlements_spent",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.developer_id or '*'}: {self.plan}"
