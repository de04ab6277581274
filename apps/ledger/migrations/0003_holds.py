import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q

from apps.ledger.migrations._sql import sibling_sql

STATES = [("open", "Open"), ("settled", "Settled"), ("voided", "Voided"), ("expired", "Expired")]
STAGES = [("dispatched", "Dispatched"), ("metered", "Metered")]


class Migration(migrations.Migration):
    dependencies = [("ledger", "0002_transactions")]
    operations = [
        migrations.CreateModel(
            name="Hold",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("request_id", models.TextField(verbose_name="request")),
                (
                    "account",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="holds",
                        to="ledger.ledgeraccount",
                    ),
                ),
                ("amount", models.BigIntegerField(verbose_name="amount")),
                ("captured", models.BigIntegerField(db_default=0, default=0, verbose_name="captured")),
                (
                    "state",
                    models.CharField(
                        choices=STATES, db_default="open", default="open", max_length=10, verbose_name="state"
                    ),
                ),
                (
                    "stage",
                    models.CharField(
                        choices=STAGES,
                        db_default="dispatched",
                        default="dispatched",
                        max_length=10,
                        verbose_name="stage",
                    ),
                ),
                ("expires_at", models.DateTimeField(verbose_name="expires at")),
                ("memo", models.JSONField(default=dict, verbose_name="memo")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("resolved_at", models.DateTimeField(blank=True, null=True, verbose_name="resolved at")),
            ],
            options={
                "db_table": "holds",
                "verbose_name": "hold",
                "verbose_name_plural": "holds",
                "constraints": [
                    models.UniqueConstraint(fields=["request_id"], name="holds_request_id"),
                    models.CheckConstraint(condition=Q(amount__gte=0, amount__lte=10**17), name="holds_amount"),
                    models.CheckConstraint(
                        condition=Q(captured=0) | Q(captured__gt=0, captured__lte=10**17, state="settled"),
                        name="holds_captured",
                    ),
                    models.CheckConstraint(condition=Q(state__in=[state for state, _ in STATES]), name="holds_state"),
                    models.CheckConstraint(condition=Q(stage__in=[stage for stage, _ in STAGES]), name="holds_stage"),
                    models.CheckConstraint(
                        condition=Q(state="open", resolved_at__isnull=True)
                        | (~Q(state="open") & Q(resolved_at__isnull=False)),
                        name="holds_resolved",
                    ),
                ],
                "indexes": [
                    models.Index(fields=["expires_at"], condition=Q(resolved_at__isnull=True), name="holds_unresolved"),
                ],
            },
        ),
        sibling_sql(__file__),
    ]
