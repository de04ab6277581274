from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

# One million tokens for a million dollars: far above any price, and a price times a million tokens fits a bigint.
MAX_PRICE = 10**15


class Status(models.TextChoices):
    ACTIVE = "active", _("active")
    DISABLED = "disabled", _("disabled")


class Adapter(models.TextChoices):
    OPENAI_COMPATIBLE = "openai_compatible", _("OpenAI-compatible")
    ANTHROPIC = "anthropic", _("Anthropic Messages")
    AZURE_OPENAI = "azure_openai", _("Azure OpenAI")
    GEMINI = "gemini", _("Gemini")


class Tokenizer(models.TextChoices):
    O200K_BASE = "o200k_base"
    CL100K_BASE = "cl100k_base"
    UNKNOWN = "unknown", _("unknown")


class Capability(models.TextChoices):
    CHAT = "chat", _("chat")
    STREAM = "stream", _("streaming")
    TOOLS = "tools", _("tools")
    VISION = "vision", _("images in")
    AUDIO = "audio", _("audio in")
    JSON = "json", _("structured output")
    REASONING = "reasoning", _("reasoning")
    EMBEDDINGS = "embeddings", _("embeddings")
    MAX_COMPLETION_TOKENS = "max_completion_tokens", _("output limit as max_completion_tokens")


class TaskClass(models.TextChoices):
    """What a request asks for, as far as its words tell."""

    SUMMARY = "summary", _("summary")
    CLASSIFICATION = "classification", _("classification")
    CODE = "code", _("code")
    REASONING = "reasoning", _("reasoning")
    LONG_CONTEXT = "long_context", _("long context")
    QUESTION = "question", _("question")
    WRITING = "writing", _("writing")


def check_task_quality(value: object) -> None:
    """Raise ValidationError unless `value` maps task classes to whole numbers from 0 to 1000."""
    if not isinstance(value, dict) or not all(
        name in TaskClass.values and type(quality) is int and 0 <= quality <= 1000 for name, quality in value.items()
    ):
        raise ValidationError(_("Task classes with a whole number from 0 to 1000 each."))


class Provider(models.Model):
    """Who answers calls, at which address, and what its terms let an operator do."""

    id = models.SlugField(_("id"), max_length=40, primary_key=True)
    name = models.CharField(_("name"), max_length=100)
    adapter = models.CharField(_("adapter"), max_length=40, choices=Adapter)
    base_url = models.CharField(
        _("base url"), max_length=500, help_text=_("Address before /chat/completions, version included.")
    )
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.ACTIVE)
    resale_allowed = models.BooleanField(
        _("resale allowed"), help_text=_("The terms allow serving paying third parties with our key.")
    )
    byok_allowed = models.BooleanField(
        _("byok allowed"),
        default=True,
        help_text=_("The terms allow serving our users with keys of their own or of their developer."),
    )
    white_label_allowed = models.BooleanField(
        _("white label allowed"), default=False, help_text=_("The terms allow answers that do not name the provider.")
    )
    trains_on_data = models.BooleanField(
        _("trains on data"), help_text=_("The provider may train on what is sent to it.")
    )
    keeps_cache_control = models.BooleanField(
        _("keeps cache control"),
        default=False,
        db_default=False,
        help_text=_("An OpenAI-compatible provider that takes cache_control on the parts of a message."),
    )
    notice = models.CharField(
        _("notice"), max_length=500, blank=True, help_text=_("What its terms require to be shown to those it answers.")
    )
    terms_url = models.URLField(_("terms url"), max_length=500, blank=True)
    notes = models.TextField(_("notes"), blank=True)
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(_("created by"), max_length=100)
    changed_at = models.DateTimeField(_("changed at"))
    changed_by = models.CharField(_("changed by"), max_length=100)

    class Meta:
        db_table = "providers"
        verbose_name = _("provider")
        verbose_name_plural = _("providers")
        constraints = [
            models.CheckConstraint(condition=Q(status__in=Status.values), name="providers_status"),
            models.CheckConstraint(condition=Q(adapter__in=Adapter.values), name="providers_adapter"),
            models.CheckConstraint(condition=~Q(id="") & ~Q(base_url=""), name="providers_not_blank"),
        ]

    def __str__(self) -> str:
        return self.id


class Model(models.Model):
    """A model by the name that clients ask for."""

    id = models.CharField(_("id"), max_length=200, primary_key=True)
    name = models.CharField(_("name"), max_length=200)
    family = models.CharField(_("family"), max_length=100, blank=True)
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(_("created by"), max_length=100)

    class Meta:
        db_table = "models"
        verbose_name = _("model")
        verbose_name_plural = _("models")
        constraints = [models.CheckConstraint(condition=~Q(id=""), name="models_not_blank")]

    def __str__(self) -> str:
        return self.id


class ModelOffer(models.Model):
    """One provider's offer of one model: what it is called there, what it can do, how early it is tried."""

    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="offers", verbose_name=_("provider"))
    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="offers", verbose_name=_("model"))
    upstream_model = models.CharField(_("upstream model"), max_length=200)
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.ACTIVE)
    context_window = models.PositiveIntegerField(
        _("context window"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Tokens; empty: unknown."),
    )
    max_output_tokens = models.PositiveIntegerField(
        _("max output tokens"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Tokens; empty: unknown."),
    )
    image_tokens = models.PositiveIntegerField(
        _("image tokens"),
        default=1_600,
        validators=[MinValueValidator(1)],
        help_text=_("The most tokens that the provider counts for one image."),
    )
    capabilities = ArrayField(
        models.CharField(max_length=40, choices=Capability), default=list, blank=True, verbose_name=_("capabilities")
    )
    tokenizer = models.CharField(_("tokenizer"), max_length=20, choices=Tokenizer, default=Tokenizer.UNKNOWN)
    quality = models.SmallIntegerField(
        _("quality"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(1000)],
        help_text=_("0 to 1000; empty: not judged."),
    )
    task_quality = models.JSONField(
        _("task quality"),
        default=dict,
        blank=True,
        validators=[check_task_quality],
        help_text=_('Where a class of tasks is judged apart, from 0 to 1000: {"code": 900}.'),
    )
    priority = models.IntegerField(_("priority"), default=100, help_text=_("The lowest number is tried first."))
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(_("created by"), max_length=100)
    changed_at = models.DateTimeField(_("changed at"))
    changed_by = models.CharField(_("changed by"), max_length=100)

    class Meta:
        db_table = "model_offers"
        verbose_name = _("model offer")
        verbose_name_plural = _("model offers")
        constraints = [
            models.UniqueConstraint(fields=["provider", "upstream_model", "model"], name="model_offers_once"),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="model_offers_status"),
            models.CheckConstraint(condition=Q(tokenizer__in=Tokenizer.values), name="model_offers_tokenizer"),
            models.CheckConstraint(
                condition=Q(quality=None) | Q(quality__range=(0, 1000)), name="model_offers_quality"
            ),
            models.CheckConstraint(
                condition=(Q(context_window=None) | Q(context_window__gt=0))
                & (Q(max_output_tokens=None) | Q(max_output_tokens__gt=0)),
                name="model_offers_positive_limits",
            ),
            models.CheckConstraint(condition=~Q(upstream_model=""), name="model_offers_not_blank"),
            models.CheckConstraint(condition=Q(image_tokens__gt=0), name="model_offers_image_tokens"),
        ]

    def __str__(self) -> str:
        return f"{self.provider_id}: {self.upstream_model}"


class PriceVersion(models.Model):
    """The price of an offer from a moment on; in force until the next version begins. Never changed."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    offer = models.ForeignKey(
        ModelOffer, on_delete=models.PROTECT, related_name="price_versions", verbose_name=_("offer")
    )
    valid_from = models.DateTimeField(_("valid from"))
    discount_bps = models.IntegerField(
        _("discount bps"),
        default=0,
        db_default=0,
        help_text=_("What the provider takes off its list price for us, in basis points."),
    )
    source = models.CharField(_("source"), max_length=100)
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(_("created by"), max_length=100)

    class Meta:
        db_table = "price_versions"
        verbose_name = _("price version")
        verbose_name_plural = _("price versions")
        constraints = [
            models.UniqueConstraint(fields=["offer", "valid_from"], name="price_versions_one_at_a_time"),
            models.CheckConstraint(
                condition=models.Q(discount_bps__gte=0, discount_bps__lte=10_000), name="price_versions_discount"
            ),
        ]

    def __str__(self) -> str:
        return self.id


class PriceTier(models.Model):
    """Prices in nano-USD per 1,000,000 tokens for requests whose prompt has at least `from_tokens` tokens."""

    version = models.ForeignKey(PriceVersion, on_delete=models.PROTECT, related_name="tiers", verbose_name=_("version"))
    from_tokens = models.PositiveIntegerField(_("from tokens"))
    input = models.BigIntegerField(_("input"))
    cache_read = models.BigIntegerField(_("cache read"))
    cache_write = models.BigIntegerField(_("cache write"))
    output = models.BigIntegerField(_("output"))

    class Meta:
        db_table = "price_tiers"
        verbose_name = _("price tier")
        verbose_name_plural = _("price tiers")
        constraints = [
            models.UniqueConstraint(fields=["version", "from_tokens"], name="price_tiers_once"),
            *(
                models.CheckConstraint(condition=Q(**{f"{kind}__range": (0, MAX_PRICE)}), name=f"price_tiers_{kind}")
                for kind in ("input", "cache_read", "cache_write", "output")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version_id} from {self.from_tokens}"


class PriceImport(models.Model):
    """One reading of a price source: how much it listed (the next may not list far less), and its outcome."""

    class State(models.TextChoices):
        ACCEPTED = "accepted", _("accepted")
        REFUSED = "refused", _("refused")

    source = models.CharField(_("source"), max_length=100)
    source_version = models.CharField(_("source version"), max_length=40)
    state = models.CharField(_("state"), max_length=10, choices=State)
    reason = models.TextField(_("reason"), blank=True)
    priced_models = models.JSONField(
        _("priced models"), help_text=_("Priced models in the source for each of its providers.")
    )
    proposals_made = models.PositiveIntegerField(_("proposals made"), default=0)
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(_("created by"), max_length=100)

    class Meta:
        db_table = "price_imports"
        verbose_name = _("price import")
        verbose_name_plural = _("price imports")
        constraints = [
            models.CheckConstraint(condition=Q(state__in=["accepted", "refused"]), name="price_imports_state"),
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.source_version}"


class PriceProposal(models.Model):
    """A price that somebody or some source puts forward; it counts for nothing until an operator approves it."""

    class State(models.TextChoices):
        PENDING = "pending", _("pending")
        APPROVED = "approved", _("approved")
        REJECTED = "rejected", _("rejected")
        SUPERSEDED = "superseded", _("superseded")

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    source = models.CharField(_("source"), max_length=100)
    offer = models.ForeignKey(
        ModelOffer,
        on_delete=models.PROTECT,
        related_name="proposals",
        null=True,
        blank=True,
        verbose_name=_("offer"),
        help_text=_("Empty: not offered yet; approval makes a disabled offer to be reviewed."),
    )
    provider = models.ForeignKey(
        Provider, on_delete=models.PROTECT, related_name="proposals", verbose_name=_("provider")
    )
    upstream_model = models.CharField(_("upstream model"), max_length=200)
    valid_from = models.DateTimeField(
        _("valid from"), null=True, blank=True, help_text=_("Empty: from the approval on.")
    )
    current: "models.JSONField[Any, Any]" = models.JSONField(_("current"), null=True, blank=True)
    proposed: "models.JSONField[Any, Any]" = models.JSONField(_("proposed"))
    notes = ArrayField(models.TextField(), default=list, blank=True, verbose_name=_("notes"))
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.PENDING)
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(_("created by"), max_length=100)
    decided_at = models.DateTimeField(_("decided at"), null=True, blank=True)
    decided_by = models.CharField(_("decided by"), max_length=100, blank=True)
    reason = models.TextField(_("reason"), blank=True)
    price_version = models.OneToOneField(
        PriceVersion,
        on_delete=models.PROTECT,
        related_name="proposal",
        null=True,
        blank=True,
        verbose_name=_("price version"),
    )

    class Meta:
        db_table = "price_proposals"
        verbose_name = _("price proposal")
        verbose_name_plural = _("price proposals")
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "upstream_model", "offer", "valid_from"],
                condition=Q(state="pending"),
                nulls_distinct=False,
                name="price_proposals_one_pending",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["pending", "approved", "rejected", "superseded"]), name="price_proposals_state"
            ),
            models.CheckConstraint(
                condition=Q(state="pending", decided_at=None) | (~Q(state="pending") & ~Q(decided_at=None)),
                name="price_proposals_decided",
            ),
            models.CheckConstraint(
                condition=Q(state="approved", price_version__isnull=False)
                | (~Q(state="approved") & Q(price_version=None)),
                name="price_proposals_approved_has_version",
            ),
        ]
        indexes = [models.Index(fields=["state", "provider"], name="price_proposals_by_state")]

    def __str__(self) -> str:
        return self.id
