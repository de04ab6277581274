from django.db import models
from django.utils.translation import gettext_lazy as _


class SemanticEntry(models.Model):
    """The vector of a prompt whose answer is kept: what similar prompts are compared with. No text is in it."""

    app_id = models.CharField(_("app id"), max_length=40)
    feature_key = models.CharField(_("feature key"), max_length=64)
    context_hash = models.CharField(
        _("context hash"),
        max_length=64,
        help_text=_("Of all that must be equal: only the last message may be merely similar."),
    )
    model = models.CharField(
        _("model"), max_length=200, help_text=_("What made the vector; only its own are compared.")
    )
    vector = models.BinaryField(_("vector"), help_text=_("Little-endian 32-bit floats of length 1."))
    answer_key = models.CharField(
        _("answer key"), max_length=64, help_text=_("Where the answer is kept, for as long as it is.")
    )
    created_at = models.DateTimeField(_("created at"))
    expires_at = models.DateTimeField(_("expires at"))

    class Meta:
        db_table = "semantic_entries"
        verbose_name = _("semantic entry")
        verbose_name_plural = _("semantic entries")
        indexes = [
            # Newest first, of one context: the only way in which it is searched.
            models.Index(fields=["context_hash", "-id"], name="semantic_entries_context"),
            models.Index(fields=["app_id"], name="semantic_entries_app"),
            models.Index(fields=["expires_at"], name="semantic_entries_expiry"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(expires_at__gt=models.F("created_at")), name="semantic_entries_expires_later"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.app_id}/{self.feature_key} {self.pk}"
