import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Coalesce

_FACTS = (
    "id, kind, developer_id, budget_id, scope, scope_id, period_start, threshold, limit_nano, spent_nano, created_at"
)
_TRIGGER = """
DROP TRIGGER alerts_facts ON alerts;
CREATE TRIGGER alerts_facts BEFORE UPDATE OF {columns} OR DELETE ON alerts
    FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0012_budgets_follow")]

    operations = [
        migrations.AddField(
            "alert",
            "alert_key",
            models.CharField(help_text="What is told only once, of other kinds.", max_length=128, null=True),
        ),
        migrations.AddField(
            "alert", "data", models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict)
        ),
        migrations.AlterField(
            "alert",
            "budget",
            models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="usage.budget"
            ),
        ),
        migrations.AlterField("alert", "limit_nano", models.BigIntegerField(null=True)),
        migrations.AlterField("alert", "period_start", models.DateTimeField(null=True)),
        migrations.AlterField("alert", "scope", models.CharField(max_length=16)),
        migrations.AlterField("alert", "scope_id", models.CharField(blank=True, max_length=128)),
        migrations.AlterField("alert", "spent_nano", models.BigIntegerField(null=True)),
        migrations.AlterField(
            "alert", "threshold", models.SmallIntegerField(help_text="Per cent of the limit.", null=True)
        ),
        migrations.AddConstraint(
            "alert",
            models.UniqueConstraint(
                models.F("kind"),
                models.F("alert_key"),
                Coalesce("developer_id", models.Value("")),
                condition=models.Q(alert_key__isnull=False),
                name="alerts_once_a_key",
            ),
        ),
        migrations.AddConstraint(
            "alert",
            models.CheckConstraint(
                condition=models.Q(
                    kind="budget",
                    budget__isnull=False,
                    period_start__isnull=False,
                    threshold__isnull=False,
                    limit_nano__isnull=False,
                    spent_nano__isnull=False,
                    alert_key=None,
                )
                | (~models.Q(kind="budget") & models.Q(budget=None, alert_key__isnull=False)),
                name="alerts_kind",
            ),
        ),
        migrations.RunSQL(
            _TRIGGER.format(columns=f"{_FACTS}, alert_key, data"),
            _TRIGGER.format(columns=_FACTS),
        ),
    ]
