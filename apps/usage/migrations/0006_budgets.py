import re
from pathlib import Path

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.comparison
from django.db import migrations, models

import apps.usage.models.budgets
import apps.vault.fields
from apps.core.migration_helpers import epoch_trigger

HERE = Path(__file__)
BACK = HERE.with_suffix(".reverse.sql").read_text()
_found = re.search(
    r"^CREATE (FUNCTION usage_meter.*?\nEND \$\$;\n)",
    HERE.with_name("0005_settle_apart.sql").read_text(),
    re.MULTILINE | re.DOTALL,
)
assert _found is not None
METER_BEFORE = f"CREATE OR REPLACE {_found[1]}"


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0005_settle_apart"),
    ]

    operations = [
        migrations.CreateModel(
            name="AlertEndpoint",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                (
                    "developer_id",
                    models.CharField(blank=True, help_text="Empty: the operator.", max_length=40, null=True),
                ),
                ("url", models.CharField(max_length=500)),
                ("secret", apps.vault.fields.EncryptedField()),
                ("hint", models.CharField(help_text="The last four characters of the secret.", max_length=4)),
                ("enabled", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField()),
                ("created_by", models.CharField(max_length=64)),
                ("changed_at", models.DateTimeField()),
                ("changed_by", models.CharField(max_length=64)),
            ],
            options={
                "db_table": "alert_endpoints",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("developer_id__isnull", False)),
                        fields=("developer_id",),
                        name="alert_endpoints_one_per_developer",
                    ),
                    models.UniqueConstraint(
                        django.db.models.functions.comparison.Coalesce("developer_id", models.Value("")),
                        condition=models.Q(("developer_id", None)),
                        name="alert_endpoints_one_of_the_operator",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Budget",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                (
                    "developer_id",
                    models.CharField(
                        blank=True, help_text="Whose budget it is; empty: the operator's.", max_length=40, null=True
                    ),
                ),
                (
                    "scope",
                    models.CharField(
                        choices=[
                            ("credential", "provider credential"),
                            ("app", "app"),
                            ("feature", "feature"),
                            ("end_user", "end user"),
                            ("developer", "developer"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "scope_id",
                    models.CharField(help_text="Whom it is for; of a feature: app id/feature key.", max_length=128),
                ),
                ("period", models.CharField(choices=[("day", "day"), ("month", "month")], max_length=8)),
                ("amount_nano", models.BigIntegerField(help_text="For one period, in nano-USD.")),
                (
                    "hard",
                    models.BooleanField(
                        default=True, help_text="Refuse calls that may exceed it; otherwise only alert."
                    ),
                ),
                (
                    "rollover",
                    models.BooleanField(
                        default=False, help_text="Add what the period before left over, at most one period's amount."
                    ),
                ),
                (
                    "thresholds",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.SmallIntegerField(),
                        default=apps.usage.models.budgets.default_thresholds,
                        help_text="Alert at these percentages.",
                        size=None,
                    ),
                ),
                ("enabled", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField()),
                ("created_by", models.CharField(max_length=64)),
                ("changed_at", models.DateTimeField()),
                ("changed_by", models.CharField(max_length=64)),
            ],
            options={
                "db_table": "budgets",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("developer_id__isnull", False)),
                        fields=("scope", "scope_id", "period", "developer_id"),
                        name="budgets_one_per_developer",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("developer_id", None)),
                        fields=("scope", "scope_id", "period"),
                        name="budgets_one_of_the_operator",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("scope__in", ["credential", "app", "feature", "end_user", "developer"])),
                        name="budgets_scope_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("scope_id", ""), _negated=True), name="budgets_scope_id"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("period__in", ["day", "month"])), name="budgets_period_known"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("amount_nano__gt", 0), ("amount_nano__lte", 100000000000000000)),
                        name="budgets_amount",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BudgetPeriod",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("period_start", models.DateTimeField()),
                ("limit_nano", models.BigIntegerField(help_text="With what was carried over, in nano-USD.")),
                ("carried_nano", models.BigIntegerField(help_text="Left over from the period before, in nano-USD.")),
                ("spent_nano", models.BigIntegerField(db_default=0, default=0)),
                ("reserved_nano", models.BigIntegerField(db_default=0, default=0)),
                (
                    "budget",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="periods", to="usage.budget"
                    ),
                ),
            ],
            options={
                "db_table": "budget_periods",
            },
        ),
        migrations.CreateModel(
            name="BudgetUse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("request_id", models.CharField(max_length=40)),
                ("reserved_nano", models.BigIntegerField()),
                ("spent_nano", models.BigIntegerField(db_default=0, default=0)),
                (
                    "state",
                    models.CharField(
                        choices=[("reserved", "reserved"), ("spent", "spent"), ("released", "released")],
                        db_default="reserved",
                        default="reserved",
                        max_length=10,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(null=True)),
                (
                    "budget",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="usage.budget",
                    ),
                ),
                (
                    "period",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="uses",
                        to="usage.budgetperiod",
                    ),
                ),
            ],
            options={
                "db_table": "budget_uses",
            },
        ),
        migrations.CreateModel(
            name="Alert",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(db_default="budget", default="budget", max_length=16)),
                (
                    "developer_id",
                    models.CharField(help_text="Who is told; empty: the operator.", max_length=40, null=True),
                ),
                (
                    "scope",
                    models.CharField(
                        choices=[
                            ("credential", "provider credential"),
                            ("app", "app"),
                            ("feature", "feature"),
                            ("end_user", "end user"),
                            ("developer", "developer"),
                        ],
                        max_length=16,
                    ),
                ),
                ("scope_id", models.CharField(max_length=128)),
                ("period_start", models.DateTimeField()),
                ("threshold", models.SmallIntegerField(help_text="Per cent of the limit.")),
                ("limit_nano", models.BigIntegerField()),
                ("spent_nano", models.BigIntegerField()),
                ("created_at", models.DateTimeField()),
                ("next_attempt_at", models.DateTimeField(help_text="Empty: delivered, or given up.", null=True)),
                ("attempts", models.IntegerField(db_default=0, default=0)),
                ("delivered_at", models.DateTimeField(null=True)),
                ("last_error", models.CharField(max_length=200, null=True)),
                (
                    "budget",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="usage.budget"),
                ),
            ],
            options={
                "db_table": "alerts",
                "indexes": [
                    models.Index(
                        condition=models.Q(("next_attempt_at__isnull", False)),
                        fields=["next_attempt_at"],
                        name="alerts_waiting",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("budget", "period_start", "threshold"), name="alerts_once_a_period")
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="budgetperiod",
            constraint=models.UniqueConstraint(fields=("budget", "period_start"), name="budget_periods_one"),
        ),
        migrations.AddConstraint(
            model_name="budgetperiod",
            constraint=models.CheckConstraint(
                condition=models.Q(("carried_nano__gte", 0), ("limit_nano__gt", models.F("carried_nano"))),
                name="budget_periods_limit",
            ),
        ),
        migrations.AddConstraint(
            model_name="budgetperiod",
            constraint=models.CheckConstraint(
                condition=models.Q(("reserved_nano__gte", 0), ("spent_nano__gte", 0)),
                name="budget_periods_not_negative",
            ),
        ),
        migrations.AddIndex(
            model_name="budgetuse",
            index=models.Index(condition=models.Q(("closed_at", None)), fields=["id"], name="budget_uses_reserved"),
        ),
        migrations.AddConstraint(
            model_name="budgetuse",
            constraint=models.UniqueConstraint(fields=("request_id", "budget"), name="budget_uses_one"),
        ),
        migrations.AddConstraint(
            model_name="budgetuse",
            constraint=models.CheckConstraint(
                condition=models.Q(("reserved_nano__gte", 0), ("spent_nano__gte", 0)), name="budget_uses_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="budgetuse",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("closed_at", None), ("spent_nano", 0), ("state", "reserved")),
                    models.Q(("closed_at__isnull", False), ("spent_nano", 0), ("state", "released")),
                    models.Q(("closed_at__isnull", False), ("spent_nano__gt", 0), ("state", "spent")),
                    _connector="OR",
                ),
                name="budget_uses_state",
            ),
        ),
        migrations.RunSQL(HERE.with_suffix(".sql").read_text(), METER_BEFORE + BACK),
        epoch_trigger("budgets", "INSERT OR UPDATE OR DELETE"),
    ]
