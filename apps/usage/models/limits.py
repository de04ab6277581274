from django.db import models
from django.utils.translation import gettext_lazy as _


class LimitScope(models.TextChoices):
    """Whose calls are counted together; docs/reference/limits.md says what each one's id is."""

    PLATFORM = "platform", _("platform")
    DEVELOPER = "developer", _("developer")
    APP = "app", _("app")
    FEATURE = "feature", _("feature")
    END_USER = "end_user", _("end user")
    KEY = "key", _("virtual key")
    CREDENTIAL = "credential", _("provider credential")
    SESSION = "session", _("session")
    IP = "ip", _("address")


class LimitRule(models.Model):
    """How many calls and tokens a minute, and how many calls at once, somebody may have."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    scope = models.CharField(_("scope"), max_length=16, choices=LimitScope)
    scope_id = models.CharField(
        _("scope id"),
        max_length=128,
        blank=True,
        default="",
        help_text=_("Whom the rule names; empty: each one of this scope that no rule names."),
    )
    rpm = models.IntegerField(_("RPM"), null=True, blank=True, help_text=_("Calls in 60 seconds."))
    tpm = models.BigIntegerField(
        _("TPM"),
        null=True,
        blank=True,
        help_text=_("Accounted tokens in 60 seconds; the next call after them is refused."),
    )
    concurrency = models.IntegerField(_("concurrency"), null=True, blank=True, help_text=_("Calls at the same time."))
    enabled = models.BooleanField(_("enabled"), default=True)
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(_("created by"), max_length=64)
    changed_at = models.DateTimeField(_("changed at"))
    changed_by = models.CharField(_("changed by"), max_length=64)

    class Meta:
        db_table = "limit_rules"
        verbose_name = _("limit rule")
        verbose_name_plural = _("limit rules")
        constraints = [
            models.UniqueConstraint(fields=["scope", "scope_id"], name="limit_rules_one_per_scope"),
            models.CheckConstraint(condition=models.Q(scope__in=LimitScope.values), name="limit_rules_scope_known"),
            models.CheckConstraint(
                condition=~models.Q(scope="platform") | models.Q(scope_id=""), name="limit_rules_one_platform"
            ),
            models.CheckConstraint(
                condition=models.Q(rpm__isnull=False)
                | models.Q(tpm__isnull=False)
                | models.Q(concurrency__isnull=False),
                name="limit_rules_limit_something",
            ),
            models.CheckConstraint(
                condition=models.Q(models.Q(rpm=None) | models.Q(rpm__gt=0))
                & models.Q(models.Q(tpm=None) | models.Q(tpm__gt=0))
                & models.Q(models.Q(concurrency=None) | models.Q(concurrency__gt=0)),
                name="limit_rules_positive",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.scope_id or '*'}"
