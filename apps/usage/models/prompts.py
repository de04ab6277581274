from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.vault.fields import EncryptedField


class PromptLogKind(models.TextChoices):
    """What a manifest's opt-in keeps."""

    REDACTED = "redacted", _("redacted prompt")
    DEBUG = "debug", _("redacted prompt and answer")


class PromptLog(models.Model):
    """What a call asked, and for debugging what it was answered: redacted, encrypted, and purged after its time.

    Written only where the feature's manifest asks for it.
    """

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    request_id = models.CharField(_("request id"), max_length=40, unique=True)
    app_id = models.CharField(_("app id"), max_length=40)
    developer_id = models.CharField(_("developer id"), max_length=40)
    feature_key = models.CharField(_("feature key"), max_length=64)
    kind = models.CharField(_("kind"), max_length=10, choices=PromptLogKind)
    content = EncryptedField(_("content"), help_text=_("Prompt and answer as JSON."))
    expires_at = models.DateTimeField(_("expires at"))
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "prompt_logs"
        verbose_name = _("prompt log")
        verbose_name_plural = _("prompt logs")
        permissions = [("read_promptlog", _("Can read the text of logged prompts"))]
        indexes = [
            models.Index(fields=["app_id", "id"], name="prompt_logs_app"),
            models.Index(fields=["expires_at"], name="prompt_logs_expiry"),
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(kind__in=PromptLogKind.values), name="prompt_logs_kind"),
            models.CheckConstraint(
                condition=models.Q(expires_at__gt=models.F("created_at")), name="prompt_logs_expires_later"
            ),
        ]

    def __str__(self) -> str:
        return self.request_id
