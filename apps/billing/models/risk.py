"""Who may be abusing the instance: keyed hashes of clients, scores with their signals, what was done, anomalies."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

__all__ = [
    "Anomaly",
    "AnomalyScope",
    "AppHour",
    "Fingerprint",
    "Metric",
    "RiskAction",
    "RiskActionKind",
    "RiskScore",
    "RiskSignal",
    "Subject",
]


class Subject(models.TextChoices):
    """Whom a score is about."""

    APP = "app", _("app")
    END_USER = "end_user", _("end user")
    DEVELOPER = "developer", _("developer")


class RiskActionKind(models.TextChoices):
    """What is done about abuse; each can be undone."""

    THROTTLE = "throttle", _("throttled")
    SUSPEND = "suspend", _("no free credit")
    FREEZE = "freeze", _("wallet frozen")
    DISABLE = "disable", _("disabled")


class AnomalyScope(models.TextChoices):
    PLATFORM = "platform", _("platform")
    DEVELOPER = "developer", _("developer")
    APP = "app", _("app")


class Metric(models.TextChoices):
    SPEND = "spend", _("spend")
    CALLS = "calls", _("calls")
    ERROR_RATE = "error_rate", _("error rate")


class Fingerprint(models.Model):
    """That an end user's session was opened from a client: keyed hashes only, of its network and its user agent.

    The key of the hashes changes every 30 days. A row is written under the key of now and under the one before, so two
    visits within 30 days always share a hash, and visits more than 60 days apart never do.
    """

    end_user_id = models.CharField(_("end user"), max_length=40)
    app_id = models.CharField(_("app"), max_length=40)
    fingerprint = models.CharField(_("fingerprint"), max_length=64, help_text=_("Hash of network and user agent."))
    network = models.CharField(_("network"), max_length=64, help_text=_("Hash of the network alone."))
    anonymous = models.BooleanField(_("anonymous device"))
    sessions = models.IntegerField(_("sessions"), default=1, db_default=1)
    first_seen_at = models.DateTimeField(_("first seen at"))
    last_seen_at = models.DateTimeField(_("last seen at"))

    class Meta:
        db_table = "fingerprints"
        verbose_name = _("fingerprint")
        verbose_name_plural = _("fingerprints")
        constraints = [
            models.UniqueConstraint(fields=["end_user_id", "fingerprint"], name="fingerprints_once"),
            models.CheckConstraint(
                condition=Q(fingerprint__regex=r"^[0-9a-f]{64}$", network__regex=r"^[0-9a-f]{64}$"),
                name="fingerprints_are_hashes",
            ),
            models.CheckConstraint(condition=Q(sessions__gte=1), name="fingerprints_sessions"),
        ]
        indexes = [
            models.Index(fields=["fingerprint", "app_id"], name="fingerprints_fingerprint"),
            models.Index(fields=["network", "app_id"], name="fingerprints_network"),
            models.Index(fields=["app_id", "last_seen_at"], name="fingerprints_app"),
            models.Index(fields=["last_seen_at"], name="fingerprints_last_seen"),
        ]

    def __str__(self) -> str:
        return f"{self.fingerprint[:12]}…"


class AppHour(models.Model):
    """What an app's calls came to in one hour (UTC), so that a baseline is not summed from single calls each time."""

    app_id = models.CharField(_("app"), max_length=40)
    developer_id = models.CharField(_("developer"), max_length=40)
    hour = models.DateTimeField(_("hour"))
    calls = models.BigIntegerField(_("calls"))
    failed = models.BigIntegerField(_("failed calls"))
    spend_nano = models.BigIntegerField(_("spend"))

    class Meta:
        db_table = "app_hours"
        verbose_name = _("hour of an app")
        verbose_name_plural = _("hours of apps")
        constraints = [
            models.UniqueConstraint(fields=["app_id", "hour"], name="app_hours_once"),
            models.CheckConstraint(
                condition=Q(calls__gte=0, failed__gte=0, failed__lte=models.F("calls"), spend_nano__gte=0),
                name="app_hours_not_negative",
            ),
        ]
        indexes = [
            models.Index(fields=["hour"], name="app_hours_hour"),
            models.Index(fields=["developer_id", "hour"], name="app_hours_developer"),
        ]

    def __str__(self) -> str:
        return f"{self.app_id} {self.hour:%Y-%m-%d %H:00}"


class RiskScore(models.Model):
    """How risky somebody was found, 0 to 100. A score that differs is a new row; one found again is confirmed."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    subject_kind = models.CharField(_("about"), max_length=10, choices=Subject)
    subject_id = models.CharField(_("whom"), max_length=40)
    score = models.SmallIntegerField(_("score"))
    computed_at = models.DateTimeField(_("computed at"))
    confirmed_at = models.DateTimeField(_("last confirmed at"))

    class Meta:
        db_table = "risk_scores"
        verbose_name = _("risk score")
        verbose_name_plural = _("risk scores")
        constraints = [
            models.CheckConstraint(condition=Q(subject_kind__in=Subject.values), name="risk_scores_subject"),
            models.CheckConstraint(condition=Q(score__gte=0, score__lte=100), name="risk_scores_score"),
        ]
        indexes = [
            models.Index(fields=["subject_kind", "subject_id", "-id"], name="risk_scores_history"),
            models.Index(fields=["-score"], name="risk_scores_highest"),
        ]

    def __str__(self) -> str:
        return f"{self.subject_id}: {self.score}"


class RiskSignal(models.Model):
    """One reason of a score: what was measured, against which threshold, and how many points it brought."""

    score = models.ForeignKey(RiskScore, models.PROTECT, related_name="signals", verbose_name=_("score"))
    code = models.CharField(_("signal"), max_length=40)
    points = models.SmallIntegerField(_("points"))
    value = models.BigIntegerField(_("measured"))
    threshold = models.BigIntegerField(_("threshold"))
    unit = models.CharField(_("unit"), max_length=10)
    explanation = models.CharField(_("explanation"), max_length=300)

    class Meta:
        db_table = "risk_signals"
        verbose_name = _("risk signal")
        verbose_name_plural = _("risk signals")
        constraints = [
            models.UniqueConstraint(fields=["score", "code"], name="risk_signals_once"),
            models.CheckConstraint(condition=Q(points__gte=1, points__lte=100), name="risk_signals_points"),
            models.CheckConstraint(condition=Q(value__gte=models.F("threshold")), name="risk_signals_fired"),
        ]

    def __str__(self) -> str:
        return self.code


class RiskAction(models.Model):
    """What was done about somebody, by whom and why, and what must be put back to undo it."""

    id = models.CharField(_("id"), max_length=40, primary_key=True)
    subject_kind = models.CharField(_("about"), max_length=10, choices=Subject)
    subject_id = models.CharField(_("whom"), max_length=40)
    kind = models.CharField(_("what"), max_length=10, choices=RiskActionKind)
    reason = models.CharField(_("reason"), max_length=300)
    score_id = models.CharField(_("score"), max_length=40, null=True, blank=True)
    before = models.JSONField(_("before"), default=dict)
    created_at = models.DateTimeField(_("done at"))
    created_by = models.CharField(_("done by"), max_length=100)
    undone_at = models.DateTimeField(_("undone at"), null=True, blank=True)
    undone_by = models.CharField(_("undone by"), max_length=100, blank=True, default="", db_default="")

    class Meta:
        db_table = "risk_actions"
        verbose_name = _("action on abuse")
        verbose_name_plural = _("actions on abuse")
        constraints = [
            models.UniqueConstraint(
                fields=["subject_kind", "subject_id", "kind"],
                condition=Q(undone_at=None),
                name="risk_actions_one_in_force",
            ),
            models.CheckConstraint(condition=Q(subject_kind__in=Subject.values), name="risk_actions_subject"),
            models.CheckConstraint(condition=Q(kind__in=RiskActionKind.values), name="risk_actions_kind"),
            models.CheckConstraint(
                condition=Q(undone_at=None, undone_by="") | (Q(undone_at__isnull=False) & ~Q(undone_by="")),
                name="risk_actions_undone",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject_id}"


class Anomaly(models.Model):
    """An hour in which something was far above what that hour of the day usually has. Never changed.

    Values of spend are nano-USD, of calls a number, of the error rate tenths of a per cent.
    """

    scope = models.CharField(_("scope"), max_length=10, choices=AnomalyScope)
    scope_id = models.CharField(_("whose"), max_length=40, blank=True)
    metric = models.CharField(_("metric"), max_length=10, choices=Metric)
    hour = models.DateTimeField(_("hour"))
    value = models.BigIntegerField(_("value"))
    baseline = models.BigIntegerField(_("baseline"), help_text=_("Median of the same hour of the days before."))
    threshold = models.BigIntegerField(_("threshold"))
    days = models.SmallIntegerField(_("days compared"))
    created_at = models.DateTimeField(_("found at"))

    class Meta:
        db_table = "anomalies"
        verbose_name = _("anomaly")
        verbose_name_plural = _("anomalies")
        constraints = [
            models.UniqueConstraint(fields=["scope", "scope_id", "metric", "hour"], name="anomalies_once"),
            models.CheckConstraint(condition=Q(scope__in=AnomalyScope.values), name="anomalies_scope"),
            models.CheckConstraint(condition=Q(metric__in=Metric.values), name="anomalies_metric"),
            models.CheckConstraint(condition=Q(scope="platform") ^ ~Q(scope_id=""), name="anomalies_whose"),
            models.CheckConstraint(condition=Q(value__gt=models.F("threshold")), name="anomalies_above"),
        ]
        indexes = [models.Index(fields=["hour"], name="anomalies_hour")]

    def __str__(self) -> str:
        return f"{self.metric} {self.scope_id or self.scope} {self.hour:%Y-%m-%d %H:00}"
