"""What tables and columns are called in the admin: no table changes."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import apps.usage.models.budgets
import apps.vault.fields


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0019_local_reports"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterModelOptions(
                    name="alert",
                    options={"verbose_name": "alert", "verbose_name_plural": "alerts"},
                ),
                migrations.AlterModelOptions(
                    name="alertendpoint",
                    options={"verbose_name": "alert endpoint", "verbose_name_plural": "alert endpoints"},
                ),
                migrations.AlterModelOptions(
                    name="budget",
                    options={"verbose_name": "budget", "verbose_name_plural": "budgets"},
                ),
                migrations.AlterModelOptions(
                    name="budgetperiod",
                    options={"verbose_name": "budget period", "verbose_name_plural": "budget periods"},
                ),
                migrations.AlterModelOptions(
                    name="budgetuse",
                    options={"verbose_name": "budget use", "verbose_name_plural": "budget uses"},
                ),
                migrations.AlterModelOptions(
                    name="idempotencyrecord",
                    options={"verbose_name": "idempotency record", "verbose_name_plural": "idempotency records"},
                ),
                migrations.AlterModelOptions(
                    name="limitrule",
                    options={"verbose_name": "limit rule", "verbose_name_plural": "limit rules"},
                ),
                migrations.AlterModelOptions(
                    name="promptlog",
                    options={
                        "permissions": [("read_promptlog", "Can read the text of logged prompts")],
                        "verbose_name": "prompt log",
                        "verbose_name_plural": "prompt logs",
                    },
                ),
                migrations.AlterModelOptions(
                    name="semanticentry",
                    options={"verbose_name": "semantic entry", "verbose_name_plural": "semantic entries"},
                ),
                migrations.AlterModelOptions(
                    name="usagecharge",
                    options={"verbose_name": "usage charge", "verbose_name_plural": "usage charges"},
                ),
                migrations.AlterModelOptions(
                    name="usageevent",
                    options={"verbose_name": "usage event", "verbose_name_plural": "usage events"},
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="alert_key",
                    field=models.CharField(
                        help_text="What is told only once, of other kinds.",
                        max_length=128,
                        null=True,
                        verbose_name="alert key",
                    ),
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="attempts",
                    field=models.IntegerField(db_default=0, default=0, verbose_name="attempts"),
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="budget",
                    field=models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="usage.budget",
                        verbose_name="budget",
                    ),
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="data",
                    field=models.JSONField(
                        db_default=models.Value({}, models.JSONField()), default=dict, verbose_name="data"
                    ),
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="delivered_at",
                    field=models.DateTimeField(null=True, verbose_name="delivered at"),
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="developer_id",
                    field=models.CharField(
                        help_text="Who is told; empty: the operator.",
                        max_length=40,
                        null=True,
                        verbose_name="developer id",
                    ),
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="kind",
                    field=models.CharField(db_default="budget", default="budget", max_length=16, verbose_name="kind"),
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="last_error",
                    field=models.CharField(max_length=200, null=True, verbose_name="last error"),
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="limit_nano",
                    field=models.BigIntegerField(null=True, verbose_name="limit nano"),
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="next_attempt_at",
                    field=models.DateTimeField(
                        help_text="Empty: delivered, or given up.", null=True, verbose_name="next attempt at"
                    ),
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="period_start",
                    field=models.DateTimeField(null=True, verbose_name="period start"),
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="scope",
                    field=models.CharField(max_length=16, verbose_name="scope"),
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="scope_id",
                    field=models.CharField(blank=True, max_length=128, verbose_name="scope id"),
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="spent_nano",
                    field=models.BigIntegerField(null=True, verbose_name="spent nano"),
                ),
                migrations.AlterField(
                    model_name="alert",
                    name="threshold",
                    field=models.SmallIntegerField(
                        help_text="Per cent of the limit.", null=True, verbose_name="threshold"
                    ),
                ),
                migrations.AlterField(
                    model_name="alertendpoint",
                    name="changed_at",
                    field=models.DateTimeField(verbose_name="changed at"),
                ),
                migrations.AlterField(
                    model_name="alertendpoint",
                    name="changed_by",
                    field=models.CharField(max_length=64, verbose_name="changed by"),
                ),
                migrations.AlterField(
                    model_name="alertendpoint",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="alertendpoint",
                    name="created_by",
                    field=models.CharField(max_length=64, verbose_name="created by"),
                ),
                migrations.AlterField(
                    model_name="alertendpoint",
                    name="developer_id",
                    field=models.CharField(
                        blank=True,
                        help_text="Empty: the operator.",
                        max_length=40,
                        null=True,
                        verbose_name="developer id",
                    ),
                ),
                migrations.AlterField(
                    model_name="alertendpoint",
                    name="enabled",
                    field=models.BooleanField(default=True, verbose_name="enabled"),
                ),
                migrations.AlterField(
                    model_name="alertendpoint",
                    name="hint",
                    field=models.CharField(
                        help_text="The last four characters of the secret.", max_length=4, verbose_name="hint"
                    ),
                ),
                migrations.AlterField(
                    model_name="alertendpoint",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="alertendpoint",
                    name="secret",
                    field=apps.vault.fields.EncryptedField(verbose_name="secret"),
                ),
                migrations.AlterField(
                    model_name="alertendpoint",
                    name="url",
                    field=models.CharField(max_length=500, verbose_name="url"),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="amount_nano",
                    field=models.BigIntegerField(help_text="For one period, in nano-USD.", verbose_name="amount nano"),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="changed_at",
                    field=models.DateTimeField(verbose_name="changed at"),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="changed_by",
                    field=models.CharField(max_length=64, verbose_name="changed by"),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="created_by",
                    field=models.CharField(max_length=64, verbose_name="created by"),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="developer_id",
                    field=models.CharField(
                        blank=True,
                        help_text="Whose budget it is; empty: the operator's.",
                        max_length=40,
                        null=True,
                        verbose_name="developer id",
                    ),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="enabled",
                    field=models.BooleanField(default=True, verbose_name="enabled"),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="end_user_id",
                    field=models.CharField(
                        blank=True,
                        help_text="The end user who limits their own spending with it.",
                        max_length=40,
                        null=True,
                        verbose_name="end user id",
                    ),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="hard",
                    field=models.BooleanField(
                        default=True,
                        help_text="Refuse calls that may exceed it; otherwise only alert.",
                        verbose_name="hard",
                    ),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="period",
                    field=models.CharField(
                        choices=[("day", "day"), ("month", "month")], max_length=8, verbose_name="period"
                    ),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="rollover",
                    field=models.BooleanField(
                        default=False,
                        help_text="Add what the period before left over, at most one period's amount.",
                        verbose_name="rollover",
                    ),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="scope",
                    field=models.CharField(
                        choices=[
                            ("credential", "provider credential"),
                            ("app", "app"),
                            ("feature", "feature"),
                            ("end_user", "end user"),
                            ("developer", "developer"),
                        ],
                        max_length=16,
                        verbose_name="scope",
                    ),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="scope_id",
                    field=models.CharField(
                        help_text="Whom it is for; of a feature: app id/feature key.",
                        max_length=128,
                        verbose_name="scope id",
                    ),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="successors",
                    field=django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=40),
                        blank=True,
                        default=list,
                        help_text="Of a credential: those that rotations put in its place, oldest first; their calls count too.",
                        size=None,
                        verbose_name="successors",
                    ),
                ),
                migrations.AlterField(
                    model_name="budget",
                    name="thresholds",
                    field=django.contrib.postgres.fields.ArrayField(
                        base_field=models.SmallIntegerField(),
                        default=apps.usage.models.budgets.default_thresholds,
                        help_text="Alert at these percentages.",
                        size=None,
                        verbose_name="thresholds",
                    ),
                ),
                migrations.AlterField(
                    model_name="budgetperiod",
                    name="budget",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="periods",
                        to="usage.budget",
                        verbose_name="budget",
                    ),
                ),
                migrations.AlterField(
                    model_name="budgetperiod",
                    name="carried_nano",
                    field=models.BigIntegerField(
                        help_text="Left over from the period before, in nano-USD.", verbose_name="carried nano"
                    ),
                ),
                migrations.AlterField(
                    model_name="budgetperiod",
                    name="limit_nano",
                    field=models.BigIntegerField(
                        help_text="With what was carried over, in nano-USD.", verbose_name="limit nano"
                    ),
                ),
                migrations.AlterField(
                    model_name="budgetperiod",
                    name="period_start",
                    field=models.DateTimeField(verbose_name="period start"),
                ),
                migrations.AlterField(
                    model_name="budgetperiod",
                    name="reserved_nano",
                    field=models.BigIntegerField(db_default=0, default=0, verbose_name="reserved nano"),
                ),
                migrations.AlterField(
                    model_name="budgetperiod",
                    name="spent_nano",
                    field=models.BigIntegerField(db_default=0, default=0, verbose_name="spent nano"),
                ),
                migrations.AlterField(
                    model_name="budgetuse",
                    name="budget",
                    field=models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="usage.budget",
                        verbose_name="budget",
                    ),
                ),
                migrations.AlterField(
                    model_name="budgetuse",
                    name="closed_at",
                    field=models.DateTimeField(null=True, verbose_name="closed at"),
                ),
                migrations.AlterField(
                    model_name="budgetuse",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="budgetuse",
                    name="period",
                    field=models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="uses",
                        to="usage.budgetperiod",
                        verbose_name="period",
                    ),
                ),
                migrations.AlterField(
                    model_name="budgetuse",
                    name="request_id",
                    field=models.CharField(max_length=40, verbose_name="request id"),
                ),
                migrations.AlterField(
                    model_name="budgetuse",
                    name="reserved_nano",
                    field=models.BigIntegerField(verbose_name="reserved nano"),
                ),
                migrations.AlterField(
                    model_name="budgetuse",
                    name="spent_nano",
                    field=models.BigIntegerField(db_default=0, default=0, verbose_name="spent nano"),
                ),
                migrations.AlterField(
                    model_name="budgetuse",
                    name="state",
                    field=models.CharField(
                        choices=[("reserved", "reserved"), ("spent", "spent"), ("released", "released")],
                        db_default="reserved",
                        default="reserved",
                        max_length=10,
                        verbose_name="state",
                    ),
                ),
                migrations.AlterField(
                    model_name="idempotencyrecord",
                    name="body",
                    field=models.BinaryField(
                        help_text="Encrypted; empty where the answer was too long to keep.",
                        null=True,
                        verbose_name="body",
                    ),
                ),
                migrations.AlterField(
                    model_name="idempotencyrecord",
                    name="body_hash",
                    field=models.CharField(max_length=64, verbose_name="body hash"),
                ),
                migrations.AlterField(
                    model_name="idempotencyrecord",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="idempotencyrecord",
                    name="done_at",
                    field=models.DateTimeField(null=True, verbose_name="done at"),
                ),
                migrations.AlterField(
                    model_name="idempotencyrecord",
                    name="expires_at",
                    field=models.DateTimeField(verbose_name="expires at"),
                ),
                migrations.AlterField(
                    model_name="idempotencyrecord",
                    name="headers",
                    field=models.JSONField(null=True, verbose_name="headers"),
                ),
                migrations.AlterField(
                    model_name="idempotencyrecord",
                    name="key_hash",
                    field=models.CharField(max_length=64, verbose_name="key hash"),
                ),
                migrations.AlterField(
                    model_name="idempotencyrecord",
                    name="lease_until",
                    field=models.DateTimeField(
                        help_text="Until when the first request counts as running.", verbose_name="lease until"
                    ),
                ),
                migrations.AlterField(
                    model_name="idempotencyrecord",
                    name="request_id",
                    field=models.CharField(max_length=40, unique=True, verbose_name="request id"),
                ),
                migrations.AlterField(
                    model_name="idempotencyrecord",
                    name="scope",
                    field=models.CharField(
                        help_text="The end user or virtual key the key belongs to.", max_length=40, verbose_name="scope"
                    ),
                ),
                migrations.AlterField(
                    model_name="idempotencyrecord",
                    name="status",
                    field=models.SmallIntegerField(null=True, verbose_name="status"),
                ),
                migrations.AlterField(
                    model_name="limitrule",
                    name="changed_at",
                    field=models.DateTimeField(verbose_name="changed at"),
                ),
                migrations.AlterField(
                    model_name="limitrule",
                    name="changed_by",
                    field=models.CharField(max_length=64, verbose_name="changed by"),
                ),
                migrations.AlterField(
                    model_name="limitrule",
                    name="concurrency",
                    field=models.IntegerField(
                        blank=True, help_text="Calls at the same time.", null=True, verbose_name="concurrency"
                    ),
                ),
                migrations.AlterField(
                    model_name="limitrule",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="limitrule",
                    name="created_by",
                    field=models.CharField(max_length=64, verbose_name="created by"),
                ),
                migrations.AlterField(
                    model_name="limitrule",
                    name="enabled",
                    field=models.BooleanField(default=True, verbose_name="enabled"),
                ),
                migrations.AlterField(
                    model_name="limitrule",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="limitrule",
                    name="scope",
                    field=models.CharField(
                        choices=[
                            ("platform", "platform"),
                            ("developer", "developer"),
                            ("app", "app"),
                            ("feature", "feature"),
                            ("end_user", "end user"),
                            ("key", "virtual key"),
                            ("credential", "provider credential"),
                            ("session", "session"),
                            ("ip", "address"),
                        ],
                        max_length=16,
                        verbose_name="scope",
                    ),
                ),
                migrations.AlterField(
                    model_name="limitrule",
                    name="scope_id",
                    field=models.CharField(
                        blank=True,
                        default="",
                        help_text="Whom the rule names; empty: each one of this scope that no rule names.",
                        max_length=128,
                        verbose_name="scope id",
                    ),
                ),
                migrations.AlterField(
                    model_name="promptlog",
                    name="app_id",
                    field=models.CharField(max_length=40, verbose_name="app id"),
                ),
                migrations.AlterField(
                    model_name="promptlog",
                    name="content",
                    field=apps.vault.fields.EncryptedField(
                        help_text="Prompt and answer as JSON.", verbose_name="content"
                    ),
                ),
                migrations.AlterField(
                    model_name="promptlog",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="promptlog",
                    name="developer_id",
                    field=models.CharField(max_length=40, verbose_name="developer id"),
                ),
                migrations.AlterField(
                    model_name="promptlog",
                    name="expires_at",
                    field=models.DateTimeField(verbose_name="expires at"),
                ),
                migrations.AlterField(
                    model_name="promptlog",
                    name="feature_key",
                    field=models.CharField(max_length=64, verbose_name="feature key"),
                ),
                migrations.AlterField(
                    model_name="promptlog",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="promptlog",
                    name="kind",
                    field=models.CharField(
                        choices=[("redacted", "redacted prompt"), ("debug", "redacted prompt and answer")],
                        max_length=10,
                        verbose_name="kind",
                    ),
                ),
                migrations.AlterField(
                    model_name="promptlog",
                    name="request_id",
                    field=models.CharField(max_length=40, unique=True, verbose_name="request id"),
                ),
                migrations.AlterField(
                    model_name="semanticentry",
                    name="answer_key",
                    field=models.CharField(
                        help_text="Where the answer is kept, for as long as it is.",
                        max_length=64,
                        verbose_name="answer key",
                    ),
                ),
                migrations.AlterField(
                    model_name="semanticentry",
                    name="app_id",
                    field=models.CharField(max_length=40, verbose_name="app id"),
                ),
                migrations.AlterField(
                    model_name="semanticentry",
                    name="context_hash",
                    field=models.CharField(
                        help_text="Of all that must be equal: only the last message may be merely similar.",
                        max_length=64,
                        verbose_name="context hash",
                    ),
                ),
                migrations.AlterField(
                    model_name="semanticentry",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="semanticentry",
                    name="expires_at",
                    field=models.DateTimeField(verbose_name="expires at"),
                ),
                migrations.AlterField(
                    model_name="semanticentry",
                    name="feature_key",
                    field=models.CharField(max_length=64, verbose_name="feature key"),
                ),
                migrations.AlterField(
                    model_name="semanticentry",
                    name="model",
                    field=models.CharField(
                        help_text="What made the vector; only its own are compared.",
                        max_length=200,
                        verbose_name="model",
                    ),
                ),
                migrations.AlterField(
                    model_name="semanticentry",
                    name="vector",
                    field=models.BinaryField(
                        help_text="Little-endian 32-bit floats of length 1.", verbose_name="vector"
                    ),
                ),
                migrations.AlterField(
                    model_name="usagecharge",
                    name="cost_nano",
                    field=models.BigIntegerField(verbose_name="cost nano"),
                ),
                migrations.AlterField(
                    model_name="usagecharge",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="usagecharge",
                    name="developer_nano",
                    field=models.BigIntegerField(verbose_name="developer nano"),
                ),
                migrations.AlterField(
                    model_name="usagecharge",
                    name="event",
                    field=models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="charge",
                        serialize=False,
                        to="usage.usageevent",
                        verbose_name="event",
                    ),
                ),
                migrations.AlterField(
                    model_name="usagecharge",
                    name="infra_nano",
                    field=models.BigIntegerField(verbose_name="infra nano"),
                ),
                migrations.AlterField(
                    model_name="usagecharge",
                    name="loss_nano",
                    field=models.BigIntegerField(verbose_name="loss nano"),
                ),
                migrations.AlterField(
                    model_name="usagecharge",
                    name="payment_nano",
                    field=models.BigIntegerField(verbose_name="payment nano"),
                ),
                migrations.AlterField(
                    model_name="usagecharge",
                    name="platform_nano",
                    field=models.BigIntegerField(verbose_name="platform nano"),
                ),
                migrations.AlterField(
                    model_name="usagecharge",
                    name="price_nano",
                    field=models.BigIntegerField(verbose_name="price nano"),
                ),
                migrations.AlterField(
                    model_name="usagecharge",
                    name="provider_bill_nano",
                    field=models.BigIntegerField(
                        help_text="Bill of the developer's own provider, as information.",
                        verbose_name="provider bill nano",
                    ),
                ),
                migrations.AlterField(
                    model_name="usagecharge",
                    name="transaction_id",
                    field=models.BigIntegerField(
                        help_text="None where no money moved.", null=True, unique=True, verbose_name="transaction id"
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="account_id",
                    field=models.BigIntegerField(help_text="Ledger account of the payer.", verbose_name="account id"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="app_id",
                    field=models.CharField(max_length=40, verbose_name="app id"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="attempts",
                    field=models.JSONField(
                        help_text="Targets tried in order, with how each failed.", verbose_name="attempts"
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="cache",
                    field=models.CharField(
                        choices=[("exact", "exact"), ("semantic", "semantic")],
                        help_text="Answered from this cache.",
                        max_length=16,
                        null=True,
                        verbose_name="cache",
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="cache_price_bps",
                    field=models.IntegerField(
                        help_text="Part of the price that an answer from the cache costs, in basis points.",
                        null=True,
                        verbose_name="cache price bps",
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="cache_read_tokens",
                    field=models.BigIntegerField(verbose_name="cache read tokens"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="cache_write_tokens",
                    field=models.BigIntegerField(verbose_name="cache write tokens"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="charged",
                    field=models.BooleanField(
                        help_text="False where the payer owes nothing, whatever it cost.", verbose_name="charged"
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="cost_nano",
                    field=models.BigIntegerField(
                        help_text="What the provider bills us, in nano-USD.", verbose_name="cost nano"
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="credential_id",
                    field=models.CharField(max_length=40, verbose_name="credential id"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="degraded",
                    field=models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="Served by the feature's last resort, not by what was asked for.",
                        verbose_name="degraded",
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="developer_id",
                    field=models.CharField(max_length=40, verbose_name="developer id"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="duration_ms",
                    field=models.IntegerField(verbose_name="duration ms"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="effective_at",
                    field=models.DateTimeField(verbose_name="effective at"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="end_user_id",
                    field=models.CharField(max_length=40, null=True, verbose_name="end user id"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="endpoint",
                    field=models.CharField(max_length=32, verbose_name="endpoint"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="error_code",
                    field=models.CharField(max_length=64, null=True, verbose_name="error code"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="estimated",
                    field=models.BooleanField(
                        help_text="Tokens were counted here: the provider reported none.", verbose_name="estimated"
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="feature_key",
                    field=models.CharField(max_length=64, verbose_name="feature key"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="finish_reason",
                    field=models.CharField(max_length=32, null=True, verbose_name="finish reason"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="first_byte_ms",
                    field=models.IntegerField(null=True, verbose_name="first byte ms"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="infra_nano",
                    field=models.BigIntegerField(verbose_name="infra nano"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="input_tokens",
                    field=models.BigIntegerField(verbose_name="input tokens"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="manifest_id",
                    field=models.CharField(
                        help_text="The manifest that the call followed.",
                        max_length=40,
                        null=True,
                        verbose_name="manifest id",
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="outcome",
                    field=models.CharField(
                        choices=[
                            ("finished", "finished"),
                            ("empty", "empty answer"),
                            ("error_finish", "finish reason error"),
                            ("client_left", "client left"),
                            ("provider_failed", "provider failed in mid-answer"),
                            ("not_served", "no provider answered"),
                            ("abandoned", "the process died"),
                        ],
                        max_length=16,
                        verbose_name="outcome",
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="output_cap",
                    field=models.BigIntegerField(
                        help_text="Output limit that was lowered to fit the funds.",
                        null=True,
                        verbose_name="output cap",
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="output_tokens",
                    field=models.BigIntegerField(verbose_name="output tokens"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="payment_bps",
                    field=models.IntegerField(verbose_name="payment bps"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="policy",
                    field=models.CharField(
                        help_text="Routing policy that ordered the targets.",
                        max_length=32,
                        null=True,
                        verbose_name="policy",
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="price_nano",
                    field=models.BigIntegerField(
                        help_text="Price the client was told, in nano-USD.", verbose_name="price nano"
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="price_version_id",
                    field=models.CharField(max_length=40, null=True, verbose_name="price version id"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="principal_id",
                    field=models.CharField(
                        help_text="The session or virtual key that called.", max_length=40, verbose_name="principal id"
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="prompt_hash",
                    field=models.CharField(
                        help_text="Kept where the manifest asks for it.",
                        max_length=64,
                        null=True,
                        verbose_name="prompt hash",
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="provider",
                    field=models.CharField(max_length=64, verbose_name="provider"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="provider_bill_nano",
                    field=models.BigIntegerField(
                        db_default=0,
                        default=0,
                        help_text="What the provider bills the owner of the key, in nano-USD.",
                        verbose_name="provider bill nano",
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="rated_at",
                    field=models.DateTimeField(null=True, verbose_name="rated at"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="rating_error",
                    field=models.CharField(
                        help_text="Why rating set this event aside.",
                        max_length=200,
                        null=True,
                        verbose_name="rating error",
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="reasoning_tokens",
                    field=models.BigIntegerField(verbose_name="reasoning tokens"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="redactions",
                    field=models.IntegerField(
                        db_default=0,
                        default=0,
                        help_text="Values that were replaced before the provider saw the request.",
                        verbose_name="redactions",
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="request_id",
                    field=models.CharField(max_length=40, unique=True, verbose_name="request id"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="requested_model",
                    field=models.CharField(max_length=200, verbose_name="requested model"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="route_mode",
                    field=models.CharField(max_length=16, verbose_name="route mode"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="routing",
                    field=models.JSONField(
                        help_text="The decision, and why each other candidate was rejected.",
                        null=True,
                        verbose_name="routing",
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="served_model",
                    field=models.CharField(max_length=200, verbose_name="served model"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="started_at",
                    field=models.DateTimeField(verbose_name="started at"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="status",
                    field=models.SmallIntegerField(
                        help_text="HTTP status the client got; 0 where it got none.", verbose_name="status"
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="stream",
                    field=models.BooleanField(verbose_name="stream"),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="task_class",
                    field=models.CharField(
                        help_text="What `auto` took the request for.",
                        max_length=32,
                        null=True,
                        verbose_name="task class",
                    ),
                ),
                migrations.AlterField(
                    model_name="usageevent",
                    name="terms_id",
                    field=models.BigIntegerField(verbose_name="terms id"),
                ),
            ]
        )
    ]
