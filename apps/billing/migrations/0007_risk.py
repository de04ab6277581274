import django.db.models.deletion
from django.db import migrations, models

from apps.core.migration_helpers import immutable_trigger

# A score is what was found; only that it was found again is noted. An action is undone once.
FACTS = """
CREATE TRIGGER risk_scores_facts
    BEFORE UPDATE OF id, subject_kind, subject_id, score, computed_at OR DELETE ON risk_scores
    FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER risk_actions_facts
    BEFORE UPDATE OF id, subject_kind, subject_id, kind, reason, score_id, before, created_at, created_by
    OR DELETE ON risk_actions
    FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER risk_actions_undone_once
    BEFORE UPDATE ON risk_actions
    FOR EACH ROW WHEN (OLD.undone_at IS NOT NULL) EXECUTE FUNCTION core_refuse_change();
"""
BACK = """
DROP TRIGGER risk_actions_undone_once ON risk_actions;
DROP TRIGGER risk_actions_facts ON risk_actions;
DROP TRIGGER risk_scores_facts ON risk_scores;
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0006_plans")]

    operations = [
        migrations.CreateModel(
            name="Anomaly",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "scope",
                    models.CharField(
                        choices=[("platform", "platform"), ("developer", "developer"), ("app", "app")],
                        max_length=10,
                        verbose_name="scope",
                    ),
                ),
                ("scope_id", models.CharField(blank=True, max_length=40, verbose_name="whose")),
                (
                    "metric",
                    models.CharField(
                        choices=[("spend", "spend"), ("calls", "calls"), ("error_rate", "error rate")],
                        max_length=10,
                        verbose_name="metric",
                    ),
                ),
                ("hour", models.DateTimeField(verbose_name="hour")),
                ("value", models.BigIntegerField(verbose_name="value")),
                (
                    "baseline",
                    models.BigIntegerField(
                        help_text="Median of the same hour of the days before.", verbose_name="baseline"
                    ),
                ),
                ("threshold", models.BigIntegerField(verbose_name="threshold")),
                ("days", models.SmallIntegerField(verbose_name="days compared")),
                ("created_at", models.DateTimeField(verbose_name="found at")),
            ],
            options={
                "verbose_name": "anomaly",
                "verbose_name_plural": "anomalies",
                "db_table": "anomalies",
                "indexes": [models.Index(fields=["hour"], name="anomalies_hour")],
                "constraints": [
                    models.UniqueConstraint(fields=("scope", "scope_id", "metric", "hour"), name="anomalies_once"),
                    models.CheckConstraint(
                        condition=models.Q(("scope__in", ["platform", "developer", "app"])), name="anomalies_scope"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("metric__in", ["spend", "calls", "error_rate"])), name="anomalies_metric"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("scope", "platform"), models.Q(("scope_id", ""), _negated=True), _connector="XOR"
                        ),
                        name="anomalies_whose",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("value__gt", models.F("threshold"))), name="anomalies_above"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AppHour",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("app_id", models.CharField(max_length=40, verbose_name="app")),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                ("hour", models.DateTimeField(verbose_name="hour")),
                ("calls", models.BigIntegerField(verbose_name="calls")),
                ("failed", models.BigIntegerField(verbose_name="failed calls")),
                ("spend_nano", models.BigIntegerField(verbose_name="spend")),
            ],
            options={
                "verbose_name": "hour of an app",
                "verbose_name_plural": "hours of apps",
                "db_table": "app_hours",
                "indexes": [
                    models.Index(fields=["hour"], name="app_hours_hour"),
                    models.Index(fields=["developer_id", "hour"], name="app_hours_developer"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("app_id", "hour"), name="app_hours_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("calls__gte", 0),
                            ("failed__gte", 0),
                            ("failed__lte", models.F("calls")),
                            ("spend_nano__gte", 0),
                        ),
                        name="app_hours_not_negative",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Fingerprint",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("end_user_id", models.CharField(max_length=40, verbose_name="end user")),
                ("app_id", models.CharField(max_length=40, verbose_name="app")),
                (
                    "fingerprint",
                    models.CharField(
                        help_text="Hash of network and user agent.", max_length=64, verbose_name="fingerprint"
                    ),
                ),
                (
                    "network",
                    models.CharField(help_text="Hash of the network alone.", max_length=64, verbose_name="network"),
                ),
                ("anonymous", models.BooleanField(verbose_name="anonymous device")),
                ("sessions", models.IntegerField(db_default=1, default=1, verbose_name="sessions")),
                ("first_seen_at", models.DateTimeField(verbose_name="first seen at")),
                ("last_seen_at", models.DateTimeField(verbose_name="last seen at")),
            ],
            options={
                "verbose_name": "fingerprint",
                "verbose_name_plural": "fingerprints",
                "db_table": "fingerprints",
                "indexes": [
                    models.Index(fields=["fingerprint", "app_id"], name="fingerprints_fingerprint"),
                    models.Index(fields=["network", "app_id"], name="fingerprints_network"),
                    models.Index(fields=["app_id", "last_seen_at"], name="fingerprints_app"),
                    models.Index(fields=["last_seen_at"], name="fingerprints_last_seen"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("end_user_id", "fingerprint"), name="fingerprints_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("fingerprint__regex", "^[0-9a-f]{64}$"), ("network__regex", "^[0-9a-f]{64}$")
                        ),
                        name="fingerprints_are_hashes",
                    ),
                    models.CheckConstraint(condition=models.Q(("sessions__gte", 1)), name="fingerprints_sessions"),
                ],
            },
        ),
        migrations.CreateModel(
            name="RiskAction",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                (
                    "subject_kind",
                    models.CharField(
                        choices=[("app", "app"), ("end_user", "end user"), ("developer", "developer")],
                        max_length=10,
                        verbose_name="about",
                    ),
                ),
                ("subject_id", models.CharField(max_length=40, verbose_name="whom")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("throttle", "throttled"),
                            ("suspend", "no free credit"),
                            ("freeze", "wallet frozen"),
                            ("disable", "disabled"),
                        ],
                        max_length=10,
                        verbose_name="what",
                    ),
                ),
                ("reason", models.CharField(max_length=300, verbose_name="reason")),
                ("score_id", models.CharField(blank=True, max_length=40, null=True, verbose_name="score")),
                ("before", models.JSONField(default=dict, verbose_name="before")),
                ("created_at", models.DateTimeField(verbose_name="done at")),
                ("created_by", models.CharField(max_length=100, verbose_name="done by")),
                ("undone_at", models.DateTimeField(blank=True, null=True, verbose_name="undone at")),
                (
                    "undone_by",
                    models.CharField(blank=True, db_default="", default="", max_length=100, verbose_name="undone by"),
                ),
            ],
            options={
                "verbose_name": "action on abuse",
                "verbose_name_plural": "actions on abuse",
                "db_table": "risk_actions",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("undone_at", None)),
                        fields=("subject_kind", "subject_id", "kind"),
                        name="risk_actions_one_in_force",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("subject_kind__in", ["app", "end_user", "developer"])),
                        name="risk_actions_subject",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["throttle", "suspend", "freeze", "disable"])),
                        name="risk_actions_kind",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("undone_at", None), ("undone_by", "")),
                            models.Q(("undone_at__isnull", False), models.Q(("undone_by", ""), _negated=True)),
                            _connector="OR",
                        ),
                        name="risk_actions_undone",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RiskScore",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                (
                    "subject_kind",
                    models.CharField(
                        choices=[("app", "app"), ("end_user", "end user"), ("developer", "developer")],
                        max_length=10,
                        verbose_name="about",
                    ),
                ),
                ("subject_id", models.CharField(max_length=40, verbose_name="whom")),
                ("score", models.SmallIntegerField(verbose_name="score")),
                ("computed_at", models.DateTimeField(verbose_name="computed at")),
                ("confirmed_at", models.DateTimeField(verbose_name="last confirmed at")),
            ],
            options={
                "verbose_name": "risk score",
                "verbose_name_plural": "risk scores",
                "db_table": "risk_scores",
                "indexes": [
                    models.Index(fields=["subject_kind", "subject_id", "-id"], name="risk_scores_history"),
                    models.Index(fields=["-score"], name="risk_scores_highest"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("subject_kind__in", ["app", "end_user", "developer"])),
                        name="risk_scores_subject",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("score__gte", 0), ("score__lte", 100)), name="risk_scores_score"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RiskSignal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.CharField(max_length=40, verbose_name="signal")),
                ("points", models.SmallIntegerField(verbose_name="points")),
                ("value", models.BigIntegerField(verbose_name="measured")),
                ("threshold", models.BigIntegerField(verbose_name="threshold")),
                ("unit", models.CharField(max_length=10, verbose_name="unit")),
                ("explanation", models.CharField(max_length=300, verbose_name="explanation")),
                (
                    "score",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="signals",
                        to="billing.riskscore",
                        verbose_name="score",
                    ),
                ),
            ],
            options={
                "verbose_name": "risk signal",
                "verbose_name_plural": "risk signals",
                "db_table": "risk_signals",
                "constraints": [
                    models.UniqueConstraint(fields=("score", "code"), name="risk_signals_once"),
                    models.CheckConstraint(
                        condition=models.Q(("points__gte", 1), ("points__lte", 100)), name="risk_signals_points"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("value__gte", models.F("threshold"))), name="risk_signals_fired"
                    ),
                ],
            },
        ),
        immutable_trigger("risk_signals"),
        immutable_trigger("anomalies"),
        migrations.RunSQL(FACTS, BACK),
    ]
