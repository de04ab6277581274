from pathlib import Path

import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.math
from django.db import migrations, models

import apps.vault.fields
from apps.core.migration_helpers import immutable_trigger

SQL = Path(__file__).with_suffix(".sql").read_text()
REVERSE = Path(__file__).with_name("0005_payouts_reverse.sql").read_text()


class Migration(migrations.Migration):
    dependencies = [("billing", "0004_credits")]

    operations = [
        migrations.CreateModel(
            name="Payout",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                (
                    "origin",
                    models.CharField(
                        choices=[
                            ("scheduled", "scheduled run"),
                            ("requested", "asked for by the developer"),
                            ("operator", "proposed by an operator"),
                        ],
                        max_length=10,
                        verbose_name="origin",
                    ),
                ),
                ("requested_by", models.CharField(max_length=100, verbose_name="proposed by")),
                ("period", models.CharField(max_length=10, verbose_name="period")),
                ("cutoff_at", models.DateTimeField(verbose_name="matured until")),
                ("amount_nano", models.BigIntegerField(verbose_name="amount")),
                (
                    "rail",
                    models.CharField(
                        choices=[("stripe", "Stripe"), ("manual", "by hand")],
                        max_length=10,
                        verbose_name="rail",
                    ),
                ),
                ("destination", models.CharField(max_length=64, verbose_name="destination")),
                ("destination_hint", models.CharField(blank=True, max_length=10, verbose_name="destination ends in")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("proposed", "waiting for approval"),
                            ("held", "held"),
                            ("approved", "approved"),
                            ("sending", "being sent"),
                            ("sent", "sent"),
                            ("paid", "paid"),
                            ("failed", "failed"),
                            ("reversed", "came back"),
                            ("rejected", "rejected"),
                        ],
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("breakdown", models.JSONField(verbose_name="how it was computed")),
                ("balance_nano", models.BigIntegerField(verbose_name="balance at proposal")),
                ("matured_nano", models.BigIntegerField(verbose_name="matured at proposal")),
                ("immature_nano", models.BigIntegerField(verbose_name="maturing at proposal")),
                ("reserve_nano", models.BigIntegerField(verbose_name="reserve at proposal")),
                ("risk_score", models.IntegerField(blank=True, null=True, verbose_name="risk score at proposal")),
                ("risk_signals", models.JSONField(default=list, verbose_name="risk signals at proposal")),
                (
                    "accepted_risk",
                    models.IntegerField(blank=True, null=True, verbose_name="risk score accepted at release"),
                ),
                ("approvals_needed", models.SmallIntegerField(verbose_name="approvals needed")),
                ("round", models.SmallIntegerField(db_default=1, default=1, verbose_name="round")),
                ("transfer_group", models.CharField(max_length=64, unique=True, verbose_name="transfer group")),
                (
                    "transfer_id",
                    models.CharField(blank=True, max_length=64, null=True, unique=True, verbose_name="transfer"),
                ),
                (
                    "stripe_payout_id",
                    models.CharField(blank=True, max_length=64, null=True, unique=True, verbose_name="Stripe payout"),
                ),
                (
                    "reference",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=200, verbose_name="reference of the bank"
                    ),
                ),
                (
                    "payout_transaction_id",
                    models.BigIntegerField(
                        blank=True, null=True, unique=True, verbose_name="transaction of the approval"
                    ),
                ),
                (
                    "sent_transaction_id",
                    models.BigIntegerField(
                        blank=True, null=True, unique=True, verbose_name="transaction of the sending"
                    ),
                ),
                ("returned_nano", models.BigIntegerField(db_default=0, default=0, verbose_name="came back")),
                (
                    "return_cause",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=20, verbose_name="taken back because"
                    ),
                ),
                ("attempts", models.IntegerField(db_default=0, default=0, verbose_name="attempts")),
                ("refusals", models.IntegerField(db_default=0, default=0, verbose_name="refusals by Stripe")),
                ("next_attempt_at", models.DateTimeField(blank=True, null=True, verbose_name="next attempt at")),
                (
                    "last_error",
                    models.CharField(blank=True, db_default="", default="", max_length=500, verbose_name="last error"),
                ),
                ("created_at", models.DateTimeField(verbose_name="proposed at")),
                ("approved_at", models.DateTimeField(blank=True, null=True, verbose_name="approved at")),
                ("sending_at", models.DateTimeField(blank=True, null=True, verbose_name="first sent at")),
                ("sent_at", models.DateTimeField(blank=True, null=True, verbose_name="sent at")),
                ("paid_at", models.DateTimeField(blank=True, null=True, verbose_name="paid at")),
                ("closed_at", models.DateTimeField(blank=True, null=True, verbose_name="closed at")),
            ],
            options={
                "verbose_name": "payout",
                "verbose_name_plural": "payouts",
                "db_table": "payouts",
                "permissions": [("review_payout", "Can approve, hold and reject payouts")],
                "indexes": [
                    models.Index(fields=["developer_id", "-id"], name="payouts_developer"),
                    models.Index(fields=["status", "next_attempt_at"], name="payouts_due"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("status__in", ["proposed", "held", "approved", "sending", "sent"])),
                        fields=("developer_id",),
                        name="payouts_one_open",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("origin", "scheduled")),
                        fields=("developer_id", "period"),
                        name="payouts_once_a_period",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("amount_nano__gt", 0), ("amount_nano__lte", 100000000000000000)),
                        name="payouts_amount_positive",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "amount_nano",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("amount_nano"),
                                    "-",
                                    django.db.models.functions.math.Mod(models.F("amount_nano"), 10000000),
                                ),
                            )
                        ),
                        name="payouts_amount_whole_cents",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("returned_nano__gte", 0), ("returned_nano__lte", models.F("amount_nano"))),
                        name="payouts_returned",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "status__in",
                                [
                                    "proposed",
                                    "held",
                                    "approved",
                                    "sending",
                                    "sent",
                                    "paid",
                                    "failed",
                                    "reversed",
                                    "rejected",
                                ],
                            )
                        ),
                        name="payouts_status",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("origin__in", ["scheduled", "requested", "operator"])),
                        name="payouts_origin",
                    ),
                    models.CheckConstraint(condition=models.Q(("rail__in", ["stripe", "manual"])), name="payouts_rail"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("destination", ""), _negated=True), models.Q(("requested_by", ""), _negated=True)
                        ),
                        name="payouts_named",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("approvals_needed__gte", 1)), name="payouts_approvals_needed"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PayoutAccount",
            fields=[
                (
                    "developer_id",
                    models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="developer"),
                ),
                (
                    "rail",
                    models.CharField(
                        blank=True,
                        choices=[("stripe", "Stripe"), ("manual", "by hand")],
                        db_default="",
                        default="",
                        max_length=10,
                        verbose_name="rail",
                    ),
                ),
                (
                    "country",
                    models.CharField(blank=True, db_default="", default="", max_length=2, verbose_name="country"),
                ),
                (
                    "stripe_account_id",
                    models.CharField(blank=True, max_length=64, null=True, unique=True, verbose_name="Stripe account"),
                ),
                (
                    "payouts_enabled",
                    models.BooleanField(db_default=False, default=False, verbose_name="Stripe pays it out"),
                ),
                (
                    "details_submitted",
                    models.BooleanField(db_default=False, default=False, verbose_name="details given to Stripe"),
                ),
                ("requirements", models.JSONField(blank=True, default=list, verbose_name="still required by Stripe")),
                (
                    "disabled_reason",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=100, verbose_name="why Stripe does not pay"
                    ),
                ),
                ("deauthorized_at", models.DateTimeField(blank=True, null=True, verbose_name="disconnected at")),
                ("synced_at", models.DateTimeField(blank=True, null=True, verbose_name="asked of Stripe at")),
                ("details_id", models.CharField(blank=True, max_length=40, null=True, verbose_name="bank details")),
                ("trusted", models.BooleanField(db_default=False, default=False, verbose_name="trusted")),
                ("hold_days", models.IntegerField(blank=True, null=True, verbose_name="hold days")),
                ("reserve_bps", models.IntegerField(blank=True, null=True, verbose_name="reserve (basis points)")),
                ("minimum_nano", models.BigIntegerField(blank=True, null=True, verbose_name="minimum")),
                ("stopped_at", models.DateTimeField(blank=True, null=True, verbose_name="stopped at")),
                (
                    "stopped_reason",
                    models.CharField(blank=True, db_default="", default="", max_length=500, verbose_name="why stopped"),
                ),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("updated_at", models.DateTimeField(verbose_name="updated at")),
            ],
            options={
                "verbose_name": "payout account",
                "verbose_name_plural": "payout accounts",
                "db_table": "payout_accounts",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("rail", ""), ("rail__in", ["stripe", "manual"]), _connector="OR"),
                        name="payout_accounts_rail",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("hold_days", None),
                            models.Q(("hold_days__gte", 0), ("hold_days__lte", 730)),
                            _connector="OR",
                        ),
                        name="payout_accounts_hold_days",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("reserve_bps", None),
                            models.Q(("reserve_bps__gte", 0), ("reserve_bps__lte", 10000)),
                            _connector="OR",
                        ),
                        name="payout_accounts_reserve",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("minimum_nano", None),
                            models.Q(("minimum_nano__gte", 0), ("minimum_nano__lte", 100000000000000000)),
                            _connector="OR",
                        ),
                        name="payout_accounts_minimum",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("stopped_at", None), ("stopped_reason", "")),
                            models.Q(("stopped_at__isnull", False), models.Q(("stopped_reason", ""), _negated=True)),
                            _connector="OR",
                        ),
                        name="payout_accounts_stopped",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("stripe_account_id", ""), _negated=True),
                        name="payout_accounts_stripe_account",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PayoutDetails",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                ("content", apps.vault.fields.EncryptedField(help_text="Holder, account and bank as JSON.")),
                ("hint", models.CharField(max_length=4, verbose_name="ends in")),
                ("created_by", models.CharField(max_length=100, verbose_name="given by")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
            ],
            options={
                "verbose_name": "bank details",
                "verbose_name_plural": "bank details",
                "db_table": "payout_details",
                "permissions": [("read_payoutdetails", "Can read bank details and export them for the bank")],
                "indexes": [models.Index(fields=["developer_id", "id"], name="payout_details_developer")],
            },
        ),
        migrations.CreateModel(
            name="PayoutSkip",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                ("period", models.CharField(max_length=10, verbose_name="period")),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("below_minimum", "less than the minimum"),
                            ("no_account", "no payout account, or not ready"),
                            ("stopped", "payouts stopped"),
                            ("disabled", "developer disabled"),
                            ("frozen", "wallet frozen"),
                            ("open_payout", "another payout is open"),
                        ],
                        max_length=20,
                        verbose_name="reason",
                    ),
                ),
                ("payable_nano", models.BigIntegerField(verbose_name="payable")),
                ("at", models.DateTimeField(verbose_name="at")),
            ],
            options={
                "verbose_name": "skipped payout",
                "verbose_name_plural": "skipped payouts",
                "db_table": "payout_skips",
                "constraints": [
                    models.UniqueConstraint(fields=("developer_id", "period"), name="payout_skips_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "reason__in",
                                ["below_minimum", "no_account", "stopped", "disabled", "frozen", "open_payout"],
                            )
                        ),
                        name="payout_skips_reason",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PayoutReview",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                ("round", models.SmallIntegerField(verbose_name="round")),
                (
                    "decision",
                    models.CharField(
                        choices=[
                            ("propose", "proposed"),
                            ("approve", "approved"),
                            ("reject", "rejected"),
                            ("hold", "held"),
                            ("release", "released"),
                            ("mark_paid", "marked as paid"),
                            ("mark_failed", "marked as failed"),
                        ],
                        max_length=12,
                        verbose_name="decision",
                    ),
                ),
                ("reason", models.CharField(max_length=500, verbose_name="reason")),
                ("reviewer", models.CharField(max_length=100, verbose_name="by")),
                ("at", models.DateTimeField(verbose_name="at")),
                (
                    "payout",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="reviews",
                        to="billing.payout",
                        verbose_name="payout",
                    ),
                ),
            ],
            options={
                "verbose_name": "payout review",
                "verbose_name_plural": "payout reviews",
                "db_table": "payout_reviews",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("decision", "approve")),
                        fields=("payout", "round", "reviewer"),
                        name="payout_reviews_approves_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "decision__in",
                                ["propose", "approve", "reject", "hold", "release", "mark_paid", "mark_failed"],
                            )
                        ),
                        name="payout_reviews_decision",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("reason", ""), _negated=True), models.Q(("reviewer", ""), _negated=True)
                        ),
                        name="payout_reviews_said",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("decision__in", ["approve", "release", "mark_paid", "mark_failed"]), _negated=True
                            ),
                            ("reviewer__startswith", "user:"),
                            _connector="OR",
                        ),
                        name="payout_reviews_by_a_person",
                    ),
                ],
            },
        ),
        immutable_trigger("payout_reviews"),
        migrations.RunSQL(SQL, REVERSE),
    ]
