import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

from apps.core.migration_helpers import immutable_trigger


class Migration(migrations.Migration):
    """Disputes, and the claw-backs that follow lost ones."""

    dependencies = [
        ("billing", "0002_top_ups"),
    ]

    operations = [
        migrations.CreateModel(
            name="Dispute",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                ("stripe_dispute_id", models.CharField(max_length=64, unique=True, verbose_name="Stripe dispute")),
                ("top_up_id", models.CharField(max_length=40, verbose_name="top-up")),
                ("account_id", models.BigIntegerField(verbose_name="account")),
                ("app_id", models.CharField(blank=True, default="", max_length=40, verbose_name="app")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("inquiry", "inquiry"),
                            ("open", "open"),
                            ("won", "won"),
                            ("lost", "lost"),
                            ("written_off", "written off"),
                            ("closed", "closed, nothing withdrawn"),
                        ],
                        max_length=12,
                        verbose_name="status",
                    ),
                ),
                ("stripe_status", models.CharField(max_length=40, verbose_name="status at Stripe")),
                ("reason", models.CharField(blank=True, default="", max_length=64, verbose_name="reason")),
                ("amount_cents", models.BigIntegerField(verbose_name="disputed in cents")),
                ("credit_cents", models.BigIntegerField(verbose_name="of it credit in cents")),
                ("tax_cents", models.BigIntegerField(default=0, verbose_name="of it tax in cents")),
                ("problem", models.CharField(blank=True, default="", max_length=300, verbose_name="problem")),
                ("froze", models.BooleanField(default=False, verbose_name="froze the wallet")),
                (
                    "transaction_id",
                    models.BigIntegerField(blank=True, null=True, unique=True, verbose_name="ledger transaction"),
                ),
                (
                    "reversal_id",
                    models.BigIntegerField(blank=True, null=True, unique=True, verbose_name="ledger reversal"),
                ),
                (
                    "clawback_id",
                    models.BigIntegerField(blank=True, null=True, unique=True, verbose_name="claw-back's transaction"),
                ),
                ("clawed_at", models.DateTimeField(blank=True, null=True, verbose_name="clawed back at")),
                ("clawed_back_nano", models.BigIntegerField(default=0, verbose_name="clawed back")),
                (
                    "write_off_id",
                    models.BigIntegerField(blank=True, null=True, unique=True, verbose_name="write-off's transaction"),
                ),
                ("written_off_nano", models.BigIntegerField(default=0, verbose_name="written off")),
                ("evidence_due_at", models.DateTimeField(blank=True, null=True, verbose_name="evidence due at")),
                ("opened_at", models.DateTimeField(verbose_name="opened at")),
                ("lost_at", models.DateTimeField(blank=True, null=True, verbose_name="lost at")),
                ("closed_at", models.DateTimeField(blank=True, null=True, verbose_name="closed at")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("updated_at", models.DateTimeField(verbose_name="updated at")),
            ],
            options={
                "verbose_name": "dispute",
                "verbose_name_plural": "disputes",
                "db_table": "disputes",
                "indexes": [
                    models.Index(fields=["account_id", "-id"], name="disputes_account"),
                    models.Index(fields=["app_id", "-id"], name="disputes_app"),
                    models.Index(fields=["top_up_id"], name="disputes_top_up"),
                    models.Index(
                        condition=models.Q(("status", "lost")), fields=["lost_at"], name="disputes_to_write_off"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["inquiry", "open", "won", "lost", "written_off", "closed"])),
                        name="disputes_status",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "amount_cents",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("credit_cents"), "+", models.F("tax_cents")
                                ),
                            ),
                            ("amount_cents__gt", 0),
                            ("credit_cents__gte", 0),
                            ("tax_cents__gte", 0),
                        ),
                        name="disputes_amount",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("reversal_id", None),
                                ("status__in", ["open", "lost", "written_off"]),
                                ("transaction_id__isnull", False),
                            ),
                            models.Q(
                                ("reversal_id", None), ("status__in", ["inquiry", "closed"]), ("transaction_id", None)
                            ),
                            models.Q(
                                ("reversal_id__isnull", False), ("status", "won"), ("transaction_id__isnull", False)
                            ),
                            models.Q(("reversal_id", None), ("status", "won"), ("transaction_id", None)),
                            _connector="OR",
                        ),
                        name="disputes_posted",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("clawback_id", None), ("clawed_back_nano", 0)),
                            models.Q(("clawback_id__isnull", False), ("clawed_back_nano__gt", 0)),
                            _connector="OR",
                        ),
                        name="disputes_clawed_back",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("write_off_id", None), ("written_off_nano", 0)),
                            models.Q(("write_off_id__isnull", False), ("written_off_nano__gt", 0)),
                            _connector="OR",
                        ),
                        name="disputes_written_off",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("lost_at__isnull", False), ("status__in", ["lost", "written_off"])),
                            models.Q(("status__in", ["lost", "written_off"]), _negated=True),
                            _connector="OR",
                        ),
                        name="disputes_lost",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="DisputeClawback",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                (
                    "dispute",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="clawbacks",
                        to="billing.dispute",
                        verbose_name="dispute",
                    ),
                ),
                ("request_id", models.CharField(max_length=40, unique=True, verbose_name="request")),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                ("amount_nano", models.BigIntegerField(verbose_name="amount")),
                ("transaction_id", models.BigIntegerField(verbose_name="ledger transaction")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
            ],
            options={
                "verbose_name": "claw-back",
                "verbose_name_plural": "claw-backs",
                "db_table": "dispute_clawbacks",
                "indexes": [models.Index(fields=["developer_id", "-id"], name="dispute_clawbacks_developer")],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("amount_nano__gt", 0)), name="dispute_clawbacks_amount")
                ],
            },
        ),
        immutable_trigger("dispute_clawbacks"),
    ]
