"""An end user's own machine: the bridges that dial out from it, and the models that it has."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from apps.features.models.apps import App, EndUser


class EndpointKind(models.TextChoices):
    OLLAMA = "ollama", "Ollama"
    VLLM = "vllm", "vLLM"
    LM_STUDIO = "lm_studio", "LM Studio"
    LLAMA_CPP = "llama_cpp", "llama.cpp"
    OPENAI_COMPATIBLE = "openai_compatible", _("OpenAI-compatible")


class Bridge(models.Model):
    """A program on an end user's machine that dials out to the gateway; its token lasts until it is revoked."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    token_hash = models.CharField(_("hash of the token"), max_length=64, unique=True)
    app = models.ForeignKey(App, on_delete=models.PROTECT, related_name="+", verbose_name=_("app"))
    end_user = models.ForeignKey(EndUser, on_delete=models.PROTECT, related_name="+", verbose_name=_("end user"))
    name = models.CharField(_("name"), max_length=200, blank=True, help_text=_("Empty where its end user left."))
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "bridges"
        verbose_name = _("bridge")
        verbose_name_plural = _("bridges")
        constraints = [
            # The target of the composite foreign key that keeps an endpoint's bridge with its end user.
            models.UniqueConstraint(fields=["end_user", "id"], name="bridges_end_user_id"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


class BridgeConnection(models.Model):
    """The last connection of a bridge, over or not; the next one takes its row.

    `channel` is where messages for it go (the channel layer's name of the consumer that holds the socket).
    """

    bridge = models.OneToOneField(
        Bridge, on_delete=models.CASCADE, primary_key=True, related_name="connection", verbose_name=_("bridge")
    )
    connection_id = models.CharField(_("connection"), max_length=40, unique=True)
    channel = models.CharField(_("channel"), max_length=200)
    version = models.CharField(_("version"), max_length=40, blank=True, help_text=_("Of the program, as it says."))
    served_models = models.JSONField(_("models"), default=list, help_text=_("[{id, context_window?, capabilities?}]"))
    max_concurrency = models.IntegerField(_("calls at once"), default=1)
    connected_at = models.DateTimeField(_("connected at"))
    seen_at = models.DateTimeField(_("last seen at"))
    closed_at = models.DateTimeField(_("closed at"), null=True, blank=True)

    class Meta:
        db_table = "bridge_connections"
        verbose_name = _("connection of a bridge")
        verbose_name_plural = _("connections of bridges")
        constraints = [
            models.CheckConstraint(condition=Q(max_concurrency__gte=1), name="bridge_connections_concurrency"),
        ]

    def __str__(self) -> str:
        return self.connection_id


class LocalEndpoint(models.Model):
    """A server of models on an end user's machine or network, as told; its address is never called from here."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    app = models.ForeignKey(App, on_delete=models.PROTECT, related_name="+", verbose_name=_("app"))
    end_user = models.ForeignKey(EndUser, on_delete=models.PROTECT, related_name="+", verbose_name=_("end user"))
    bridge = models.ForeignKey(
        Bridge,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("bridge"),
        help_text=_("The bridge that reaches it."),
    )
    name = models.CharField(_("name"), max_length=200)
    kind = models.CharField(_("kind"), max_length=20, choices=EndpointKind.choices)
    base_url = models.CharField(_("base URL"), max_length=500)
    served_models = models.JSONField(_("models"), default=list, help_text=_("[{id, context_window?, capabilities?}]"))
    created_at = models.DateTimeField(_("created at"))
    changed_at = models.DateTimeField(_("changed at"))

    class Meta:
        db_table = "local_endpoints"
        verbose_name = _("local endpoint")
        verbose_name_plural = _("local endpoints")
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=EndpointKind.values), name="local_endpoints_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"
