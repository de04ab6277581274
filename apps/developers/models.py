from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _


class Status(models.TextChoices):
    ACTIVE = "active", _("active")
    STOPPED = "stopped", _("stopped by its team")
    DISABLED = "disabled", _("disabled")


class Role(models.TextChoices):
    OWNER = "owner", _("owner")
    ADMIN = "admin", _("admin")
    ANALYST = "analyst", _("analyst")
    FINANCE = "finance", _("finance")


class Scope(models.TextChoices):
    USAGE_READ = "usage:read", _("read usage")
    REVENUE_READ = "revenue:read", _("read revenue")
    APPS_READ = "apps:read", _("read apps")
    APPS_WRITE = "apps:write", _("change apps")
    KEYS_READ = "keys:read", _("read keys")
    KEYS_WRITE = "keys:write", _("change keys")
    TOKENS_WRITE = "tokens:write", _("issue and revoke tokens")
    PROVIDER_KEYS_READ = "provider_keys:read", _("read provider keys")
    PROVIDER_KEYS_WRITE = "provider_keys:write", _("change provider keys")
    PROMPTS_READ = "prompts:read", _("read logged prompts")
    BUDGETS_READ = "budgets:read", _("read budgets")
    BUDGETS_WRITE = "budgets:write", _("change budgets")
    BILLING_READ = "billing:read", _("read credit and top-ups")
    BILLING_WRITE = "billing:write", _("spend credit and top up")
    PAYOUTS_READ = "payouts:read", _("read payouts")
    PAYOUTS_WRITE = "payouts:write", _("ask for payouts and change where they go")


class Developer(models.Model):
    """Who builds apps on this instance and shares in their revenue: a person or a company."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    name = models.CharField(_("name"), max_length=200)
    email = models.EmailField(_("email"))
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.ACTIVE)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "developers"
        verbose_name = _("developer")
        verbose_name_plural = _("developers")
        constraints = [
            models.CheckConstraint(condition=Q(status__in=Status.values), name="developers_status"),
            models.CheckConstraint(condition=~Q(name=""), name="developers_not_blank"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


class Member(models.Model):
    """A person who acts for a developer, in one role."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("user")
    )
    developer = models.ForeignKey(
        Developer, on_delete=models.PROTECT, related_name="members", verbose_name=_("developer")
    )
    role = models.CharField(_("role"), max_length=10, choices=Role)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "members"
        verbose_name = _("member")
        verbose_name_plural = _("members")
        constraints = [
            models.UniqueConstraint(fields=["developer", "user"], name="members_once"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="members_role"),
        ]

    def __str__(self) -> str:
        return self.id


class Invitation(models.Model):
    """An address that may join a developer's team, by a link that is stored as a keyed hash."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    developer = models.ForeignKey(
        Developer, on_delete=models.PROTECT, related_name="invitations", verbose_name=_("developer")
    )
    email = models.EmailField(_("email"), help_text=_("In small letters. Only this address may accept."))
    role = models.CharField(_("role"), max_length=10, choices=Role)
    token_hash = models.CharField(_("token hash"), max_length=64, unique=True)
    invited_by = models.CharField(_("invited by"), max_length=100)
    expires_at = models.DateTimeField(_("expires at"))
    accepted_at = models.DateTimeField(_("accepted at"), null=True, blank=True)
    accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        verbose_name=_("accepted by"),
    )
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        db_table = "invitations"
        verbose_name = _("invitation")
        verbose_name_plural = _("invitations")
        constraints = [
            models.CheckConstraint(condition=Q(role__in=Role.values), name="invitations_role"),
            models.CheckConstraint(condition=Q(email=Lower("email")) & ~Q(email=""), name="invitations_email"),
            models.CheckConstraint(
                condition=Q(accepted_at=None, accepted_by=None) | (~Q(accepted_at=None) & ~Q(accepted_by=None)),
                name="invitations_accepted",
            ),
            models.CheckConstraint(condition=Q(accepted_at=None) | Q(revoked_at=None), name="invitations_one_end"),
            models.UniqueConstraint(
                fields=["developer", "email"],
                condition=Q(accepted_at=None, revoked_at=None),
                name="invitations_one_open",
            ),
        ]

    def __str__(self) -> str:
        return self.id


class DeveloperToken(models.Model):
    """A developer's key to the management API: stored as a keyed hash, shown once."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    developer = models.ForeignKey(
        Developer, on_delete=models.PROTECT, related_name="tokens", verbose_name=_("developer")
    )
    name = models.CharField(_("name"), max_length=100)
    token_hash = models.CharField(_("token hash"), max_length=64, unique=True)
    hint = models.CharField(_("hint"), max_length=4)
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope), verbose_name=_("scopes"))
    parent = models.ForeignKey(
        "self", on_delete=models.PROTECT, related_name="children", null=True, blank=True, verbose_name=_("parent")
    )
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"))
    created_by = models.CharField(
        _("created by"), max_length=100, blank=True, help_text=_("Who issued it, as in the audit trail.")
    )

    class Meta:
        db_table = "developer_tokens"
        verbose_name = _("developer token")
        verbose_name_plural = _("developer tokens")
        constraints = [
            models.CheckConstraint(
                condition=Q(scopes__contained_by=Scope.values, scopes__len__gte=1), name="developer_tokens_scopes"
            ),
            models.CheckConstraint(
                condition=Q(parent=None) | ~Q(parent=F("id")), name="developer_tokens_not_own_child"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (…{self.hint})"


class AuditEvent(models.Model):
    """Who did what to which thing. Append-only; `detail` never holds a secret."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    at = models.DateTimeField(_("at"))
    actor = models.CharField(_("actor"), max_length=100)
    # Text, not a foreign key: the trail outlives and outranks every other table.
    developer_id = models.CharField(_("developer id"), max_length=40, null=True)
    action = models.CharField(_("action"), max_length=60)
    subject_type = models.CharField(_("subject type"), max_length=40)
    subject_id = models.CharField(_("subject id"), max_length=200)
    detail = models.JSONField(_("detail"), default=dict)

    class Meta:
        db_table = "audit_events"
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        indexes = [
            models.Index(fields=["developer_id", "-at"], name="audit_events_by_developer"),
            models.Index(fields=["subject_type", "subject_id", "-at"], name="audit_events_by_subject"),
            models.Index(fields=["-at"], name="audit_events_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subject_id}"
