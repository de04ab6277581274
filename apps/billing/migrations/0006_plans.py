from pathlib import Path

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

from apps.core.migration_helpers import epoch_trigger, immutable_trigger

SQL = Path(__file__).with_suffix(".sql")
REVERSE = SQL.with_name("0006_plans_reverse.sql")


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0005_payouts"),
    ]

    operations = [
        migrations.CreateModel(
            name="AppFee",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("app_id", models.CharField(max_length=40, verbose_name="app")),
                ("fee_key", models.CharField(max_length=40, verbose_name="fee")),
                (
                    "required",
                    models.BooleanField(
                        default=False,
                        help_text="Calls of the fee's route are refused until it is agreed to and paid.",
                        verbose_name="required",
                    ),
                ),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("created_by", models.CharField(max_length=100, verbose_name="created by")),
                ("withdrawn_at", models.DateTimeField(blank=True, null=True, verbose_name="withdrawn at")),
            ],
            options={
                "verbose_name": "fee of an app",
                "verbose_name_plural": "fees of apps",
                "db_table": "app_fees",
            },
        ),
        migrations.CreateModel(
            name="BaselineMonth",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                ("month", models.DateField(verbose_name="month")),
                ("cost_nano", models.BigIntegerField(verbose_name="cost")),
                (
                    "source",
                    models.CharField(
                        choices=[("entered", "entered"), ("measured", "measured here")],
                        max_length=10,
                        verbose_name="source",
                    ),
                ),
                (
                    "evidence",
                    models.TextField(
                        help_text="An invoice's number and address, or how it was measured.", verbose_name="evidence"
                    ),
                ),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("created_by", models.CharField(max_length=100, verbose_name="created by")),
                ("accepted_at", models.DateTimeField(blank=True, null=True, verbose_name="accepted at")),
                ("accepted_by", models.CharField(blank=True, max_length=100, verbose_name="accepted by")),
            ],
            options={
                "verbose_name": "month of a baseline",
                "verbose_name_plural": "months of baselines",
                "db_table": "baseline_months",
            },
        ),
        migrations.CreateModel(
            name="Fee",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("key", models.SlugField(max_length=40, verbose_name="key")),
                ("version", models.IntegerField(verbose_name="version")),
                ("name", models.CharField(max_length=100, verbose_name="name")),
                (
                    "type",
                    models.CharField(
                        choices=[
                            ("gateway_fee", "gateway fee"),
                            ("premium_subscription", "premium subscription"),
                            ("team_fee", "team fee"),
                            ("audit_fee", "audit and compliance fee"),
                            ("licence", "licence for local deployment"),
                            ("bridge_pro", "Local Bridge Pro"),
                            ("console", "management console"),
                            ("security_policy", "audit and security policy"),
                            ("private_deployment", "private deployment service"),
                        ],
                        max_length=30,
                        verbose_name="type",
                    ),
                ),
                (
                    "route",
                    models.CharField(
                        choices=[("byok", "own key"), ("local", "local model"), ("any", "any")],
                        max_length=8,
                        verbose_name="route",
                    ),
                ),
                ("amount_nano", models.BigIntegerField(verbose_name="amount")),
                (
                    "interval",
                    models.CharField(
                        choices=[("month", "every month"), ("once", "once")], max_length=8, verbose_name="charged"
                    ),
                ),
                (
                    "developer_share_bps",
                    models.IntegerField(default=0, verbose_name="developer's share in basis points"),
                ),
                ("disclosure_en", models.TextField(verbose_name="what it is for, in English")),
                ("disclosure_zh", models.TextField(verbose_name="what it is for, in Chinese")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("created_by", models.CharField(max_length=100, verbose_name="created by")),
            ],
            options={
                "verbose_name": "fee",
                "verbose_name_plural": "fees",
                "db_table": "fees",
            },
        ),
        migrations.CreateModel(
            name="FeeCharge",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("period", models.IntegerField(help_text="1 is the first.", verbose_name="period")),
                ("amount_nano", models.BigIntegerField(verbose_name="amount")),
                ("developer_nano", models.BigIntegerField(verbose_name="developer's share")),
                ("transaction_id", models.BigIntegerField(unique=True, verbose_name="ledger transaction")),
                ("period_start", models.DateTimeField(verbose_name="period from")),
                ("period_end", models.DateTimeField(blank=True, null=True, verbose_name="period to")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
            ],
            options={
                "verbose_name": "charge of a fee",
                "verbose_name_plural": "charges of fees",
                "db_table": "fee_charges",
            },
        ),
        migrations.CreateModel(
            name="FeeSubscription",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("end_user_id", models.CharField(max_length=40, verbose_name="end user")),
                ("app_id", models.CharField(max_length=40, verbose_name="app")),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                ("fee_key", models.CharField(max_length=40, verbose_name="key of the fee")),
                ("amount_nano", models.BigIntegerField(verbose_name="amount")),
                ("text", models.TextField(verbose_name="what was shown")),
                ("language", models.CharField(max_length=10, verbose_name="language")),
                ("acknowledged_at", models.DateTimeField(verbose_name="acknowledged at")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("active", "active"),
                            ("suspended", "suspended"),
                            ("cancelled", "cancelled"),
                            ("ended", "ended"),
                        ],
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("periods", models.IntegerField(default=0, verbose_name="periods charged")),
                ("anchor_at", models.DateTimeField(verbose_name="months are counted from")),
                ("anchor_periods", models.IntegerField(default=0, verbose_name="months since then")),
                (
                    "paid_until",
                    models.DateTimeField(
                        blank=True, help_text="Empty: for good.", null=True, verbose_name="paid until"
                    ),
                ),
                ("suspended_at", models.DateTimeField(blank=True, null=True, verbose_name="suspended at")),
                ("cancelled_at", models.DateTimeField(blank=True, null=True, verbose_name="cancelled at")),
                ("ended_at", models.DateTimeField(blank=True, null=True, verbose_name="ended at")),
            ],
            options={
                "verbose_name": "subscription to a fee",
                "verbose_name_plural": "subscriptions to fees",
                "db_table": "fee_subscriptions",
            },
        ),
        migrations.CreateModel(
            name="GateAttempt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                ("plan_key", models.CharField(max_length=40, verbose_name="plan")),
                ("gate", models.CharField(max_length=40, verbose_name="feature")),
                ("subject", models.CharField(blank=True, max_length=100, verbose_name="subject")),
                ("actor", models.CharField(max_length=100, verbose_name="actor")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
            ],
            options={
                "verbose_name": "attempt at a gated feature",
                "verbose_name_plural": "attempts at gated features",
                "db_table": "gate_attempts",
            },
        ),
        migrations.CreateModel(
            name="Plan",
            fields=[
                ("key", models.SlugField(max_length=40, primary_key=True, serialize=False, verbose_name="key")),
                ("name", models.CharField(max_length=100, verbose_name="name")),
                ("description", models.TextField(blank=True, verbose_name="description")),
                ("price_cents", models.BigIntegerField(verbose_name="price a month in cents")),
                ("tokens_per_month", models.BigIntegerField(blank=True, null=True, verbose_name="tokens per month")),
                ("max_virtual_keys", models.IntegerField(blank=True, null=True, verbose_name="virtual keys")),
                ("retention_days", models.IntegerField(blank=True, null=True, verbose_name="retention in days")),
                ("sla", models.CharField(blank=True, max_length=200, verbose_name="service level")),
                (
                    "features",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=40),
                        blank=True,
                        default=list,
                        size=None,
                        verbose_name="features included",
                    ),
                ),
                (
                    "stripe_price_id",
                    models.CharField(
                        blank=True,
                        help_text="Empty: made with the first subscription.",
                        max_length=100,
                        verbose_name="Stripe price",
                    ),
                ),
                (
                    "position",
                    models.IntegerField(
                        default=0, help_text="Plans are listed and upgraded in this order.", verbose_name="position"
                    ),
                ),
                (
                    "active",
                    models.BooleanField(
                        default=True, help_text="Whether it can be subscribed to.", verbose_name="active"
                    ),
                ),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("changed_at", models.DateTimeField(verbose_name="changed at")),
                ("changed_by", models.CharField(max_length=100, verbose_name="changed by")),
            ],
            options={
                "verbose_name": "plan",
                "verbose_name_plural": "plans",
                "db_table": "plans",
            },
        ),
        migrations.CreateModel(
            name="PlanPrice",
            fields=[
                (
                    "stripe_price_id",
                    models.CharField(max_length=100, primary_key=True, serialize=False, verbose_name="Stripe price"),
                ),
                ("plan_key", models.CharField(max_length=40, verbose_name="plan")),
                ("price_cents", models.BigIntegerField(verbose_name="price a month in cents")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
            ],
            options={
                "verbose_name": "price of a plan at Stripe",
                "verbose_name_plural": "prices of plans at Stripe",
                "db_table": "plan_prices",
            },
        ),
        migrations.CreateModel(
            name="PlanUse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                ("month", models.DateField(verbose_name="month")),
                ("settled_tokens", models.BigIntegerField(default=0, verbose_name="tokens counted for good")),
                ("counted_until", models.DateTimeField(verbose_name="counted for good until")),
                ("tokens", models.BigIntegerField(default=0, verbose_name="tokens")),
                ("measured_at", models.DateTimeField(verbose_name="measured at")),
                (
                    "closed_at",
                    models.DateTimeField(
                        blank=True, help_text="Counted whole, afterwards.", null=True, verbose_name="closed at"
                    ),
                ),
            ],
            options={
                "verbose_name": "use of a plan",
                "verbose_name_plural": "use of plans",
                "db_table": "plan_uses",
            },
        ),
        migrations.CreateModel(
            name="Subscription",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                ("plan_key", models.CharField(max_length=40, verbose_name="plan")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "waiting for its payment"),
                            ("active", "active"),
                            ("past_due", "past due"),
                            ("ended", "ended"),
                        ],
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("manual", models.BooleanField(default=False, verbose_name="given by an operator")),
                ("stripe_session_id", models.CharField(blank=True, max_length=200, verbose_name="Checkout session")),
                (
                    "stripe_subscription_id",
                    models.CharField(blank=True, max_length=100, null=True, verbose_name="subscription at Stripe"),
                ),
                ("stripe_customer_id", models.CharField(blank=True, max_length=100, verbose_name="customer at Stripe")),
                ("stripe_status", models.CharField(blank=True, max_length=30, verbose_name="status at Stripe")),
                ("period_start", models.DateTimeField(blank=True, null=True, verbose_name="period from")),
                ("period_end", models.DateTimeField(blank=True, null=True, verbose_name="period to")),
                ("cancel_at_period_end", models.BooleanField(default=False, verbose_name="ends with its period")),
                ("past_due_since", models.DateTimeField(blank=True, null=True, verbose_name="past due since")),
                ("changes", models.IntegerField(default=0, verbose_name="changes asked of Stripe")),
                ("revision", models.IntegerField(default=0, verbose_name="revision")),
                ("base_url", models.CharField(blank=True, max_length=500, verbose_name="return address")),
                ("looked_at", models.DateTimeField(blank=True, null=True, verbose_name="looked at Stripe")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("created_by", models.CharField(max_length=100, verbose_name="created by")),
                ("changed_at", models.DateTimeField(verbose_name="changed at")),
                ("ended_at", models.DateTimeField(blank=True, null=True, verbose_name="ended at")),
                ("end_reason", models.CharField(blank=True, max_length=100, verbose_name="reason of the end")),
            ],
            options={
                "verbose_name": "subscription",
                "verbose_name_plural": "subscriptions",
                "db_table": "subscriptions",
            },
        ),
        migrations.CreateModel(
            name="SubscriptionInvoice",
            fields=[
                (
                    "id",
                    models.CharField(
                        max_length=100, primary_key=True, serialize=False, verbose_name="invoice at Stripe"
                    ),
                ),
                ("subscription_id", models.CharField(max_length=40, verbose_name="subscription")),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                ("paid", models.BooleanField(verbose_name="paid")),
                ("amount_nano", models.BigIntegerField(verbose_name="amount without tax")),
                ("tax_nano", models.BigIntegerField(verbose_name="tax")),
                (
                    "transaction_id",
                    models.BigIntegerField(blank=True, null=True, unique=True, verbose_name="ledger transaction"),
                ),
                ("failures", models.IntegerField(default=0, verbose_name="failed payments")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("paid_at", models.DateTimeField(blank=True, null=True, verbose_name="paid at")),
            ],
            options={
                "verbose_name": "invoice of a subscription",
                "verbose_name_plural": "invoices of subscriptions",
                "db_table": "subscription_invoices",
            },
        ),
        migrations.CreateModel(
            name="ValueAgreement",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                ("share_bps", models.IntegerField(verbose_name="share of the savings in basis points")),
                ("base_fee_nano", models.BigIntegerField(verbose_name="base fee")),
                ("baseline_nano", models.BigIntegerField(verbose_name="baseline a month")),
                ("starts_month", models.DateField(verbose_name="first month")),
                ("ends_month", models.DateField(blank=True, null=True, verbose_name="last month")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("created_by", models.CharField(max_length=100, verbose_name="created by")),
                ("ended_at", models.DateTimeField(blank=True, null=True, verbose_name="ended at")),
            ],
            options={
                "verbose_name": "agreement on value pricing",
                "verbose_name_plural": "agreements on value pricing",
                "db_table": "value_agreements",
            },
        ),
        migrations.CreateModel(
            name="ValueBill",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                ("month", models.DateField(verbose_name="month")),
                ("baseline_nano", models.BigIntegerField(verbose_name="baseline")),
                ("actual_nano", models.BigIntegerField(verbose_name="actual cost")),
                ("savings_nano", models.BigIntegerField(verbose_name="saved")),
                ("fee_nano", models.BigIntegerField(verbose_name="fee")),
                (
                    "transaction_id",
                    models.BigIntegerField(blank=True, null=True, unique=True, verbose_name="ledger transaction"),
                ),
                ("created_at", models.DateTimeField(verbose_name="created at")),
            ],
            options={
                "verbose_name": "bill of value pricing",
                "verbose_name_plural": "bills of value pricing",
                "db_table": "value_bills",
            },
        ),
        migrations.AddConstraint(
            model_name="appfee",
            constraint=models.UniqueConstraint(
                condition=models.Q(("withdrawn_at", None)), fields=("app_id", "fee_key"), name="app_fees_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="baselinemonth",
            constraint=models.CheckConstraint(
                condition=models.Q(("source__in", ["entered", "measured"])), name="baseline_months_source"
            ),
        ),
        migrations.AddConstraint(
            model_name="baselinemonth",
            constraint=models.CheckConstraint(
                condition=models.Q(("cost_nano__gte", 0), ("cost_nano__lte", 100000000000000000)),
                name="baseline_months_cost",
            ),
        ),
        migrations.AddConstraint(
            model_name="baselinemonth",
            constraint=models.CheckConstraint(
                condition=models.Q(("evidence", ""), _negated=True), name="baseline_months_evidence"
            ),
        ),
        migrations.AddConstraint(
            model_name="baselinemonth",
            constraint=models.UniqueConstraint(fields=("developer_id", "month"), name="baseline_months_once"),
        ),
        migrations.AddConstraint(
            model_name="fee",
            constraint=models.UniqueConstraint(fields=("key", "version"), name="fees_version"),
        ),
        migrations.AddConstraint(
            model_name="fee",
            constraint=models.CheckConstraint(condition=models.Q(("version__gte", 1)), name="fees_version_positive"),
        ),
        migrations.AddConstraint(
            model_name="fee",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "type__in",
                        [
                            "gateway_fee",
                            "premium_subscription",
                            "team_fee",
                            "audit_fee",
                            "licence",
                            "bridge_pro",
                            "console",
                            "security_policy",
                            "private_deployment",
                        ],
                    )
                ),
                name="fees_type",
            ),
        ),
        migrations.AddConstraint(
            model_name="fee",
            constraint=models.CheckConstraint(
                condition=models.Q(("route__in", ["byok", "local", "any"])), name="fees_route"
            ),
        ),
        migrations.AddConstraint(
            model_name="fee",
            constraint=models.CheckConstraint(
                condition=models.Q(("interval__in", ["month", "once"])), name="fees_interval"
            ),
        ),
        migrations.AddConstraint(
            model_name="fee",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_nano__gt", 0), ("amount_nano__lte", 100000000000000000)), name="fees_amount"
            ),
        ),
        migrations.AddConstraint(
            model_name="fee",
            constraint=models.CheckConstraint(
                condition=models.Q(("developer_share_bps__gte", 0), ("developer_share_bps__lte", 10000)),
                name="fees_share",
            ),
        ),
        migrations.AddConstraint(
            model_name="fee",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("disclosure_en", ""), _negated=True), models.Q(("disclosure_zh", ""), _negated=True)
                ),
                name="fees_disclosed",
            ),
        ),
        migrations.AddField(
            model_name="feesubscription",
            name="fee",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="subscriptions",
                to="billing.fee",
                verbose_name="fee",
            ),
        ),
        migrations.AddField(
            model_name="feecharge",
            name="subscription",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="charges",
                to="billing.feesubscription",
                verbose_name="subscription",
            ),
        ),
        migrations.AddIndex(
            model_name="gateattempt",
            index=models.Index(fields=["developer_id", "-created_at"], name="gate_attempts_developer"),
        ),
        migrations.AddConstraint(
            model_name="plan",
            constraint=models.CheckConstraint(
                condition=models.Q(("price_cents__gte", 0), ("price_cents__lte", 10000000000)), name="plans_price"
            ),
        ),
        migrations.AddConstraint(
            model_name="plan",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("tokens_per_month", None), ("tokens_per_month__gte", 0), _connector="OR"),
                    models.Q(("max_virtual_keys", None), ("max_virtual_keys__gte", 0), _connector="OR"),
                    models.Q(("retention_days", None), ("retention_days__gte", 1), _connector="OR"),
                ),
                name="plans_limits",
            ),
        ),
        migrations.AddConstraint(
            model_name="plan",
            constraint=models.CheckConstraint(
                condition=models.Q(models.Q(("key", ""), _negated=True), models.Q(("name", ""), _negated=True)),
                name="plans_named",
            ),
        ),
        migrations.AddIndex(
            model_name="planuse",
            index=models.Index(
                condition=models.Q(("closed_at", None)), fields=["month", "developer_id"], name="plan_uses_open"
            ),
        ),
        migrations.AddConstraint(
            model_name="planuse",
            constraint=models.UniqueConstraint(fields=("developer_id", "month"), name="plan_uses_once"),
        ),
        migrations.AddConstraint(
            model_name="planuse",
            constraint=models.CheckConstraint(
                condition=models.Q(("settled_tokens__gte", 0), ("tokens__gte", models.F("settled_tokens"))),
                name="plan_uses_tokens",
            ),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(fields=["developer_id", "-created_at"], name="subscriptions_developer"),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["pending", "active", "past_due", "ended"])),
                name="subscriptions_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ended_at__isnull", False), ("status", "ended")),
                    models.Q(models.Q(("status", "ended"), _negated=True), ("ended_at", None)),
                    _connector="OR",
                ),
                name="subscriptions_ended",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "past_due"), _negated=True), ("past_due_since__isnull", False), _connector="OR"
                ),
                name="subscriptions_past_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(("manual", False), ("stripe_subscription_id", None), _connector="OR"),
                name="subscriptions_manual",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("manual", True),
                    ("status__in", ("pending", "ended")),
                    ("stripe_subscription_id__isnull", False),
                    _connector="OR",
                ),
                name="subscriptions_paid_for",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status__in", ("pending", "active", "past_due"))),
                fields=("developer_id",),
                name="subscriptions_one_live",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.UniqueConstraint(
                condition=models.Q(("stripe_subscription_id__isnull", False)),
                fields=("stripe_subscription_id",),
                name="subscriptions_stripe",
            ),
        ),
        migrations.AddIndex(
            model_name="subscriptioninvoice",
            index=models.Index(fields=["developer_id", "-created_at"], name="subscription_invoices_dev"),
        ),
        migrations.AddConstraint(
            model_name="subscriptioninvoice",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_nano__gte", 0), ("tax_nano__gte", 0)), name="subscription_invoices_money"
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriptioninvoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("paid", False), ("paid_at", None), ("transaction_id", None)),
                    models.Q(
                        ("paid", True),
                        ("paid_at__isnull", False),
                        models.Q(
                            ("transaction_id__isnull", False),
                            models.Q(("amount_nano", 0), ("tax_nano", 0)),
                            _connector="OR",
                        ),
                    ),
                    _connector="OR",
                ),
                name="subscription_invoices_paid",
            ),
        ),
        migrations.AddConstraint(
            model_name="valueagreement",
            constraint=models.CheckConstraint(
                condition=models.Q(("share_bps__gte", 0), ("share_bps__lte", 10000)), name="value_agreements_share"
            ),
        ),
        migrations.AddConstraint(
            model_name="valueagreement",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("base_fee_nano__gte", 0),
                    ("base_fee_nano__lte", 100000000000000000),
                    ("baseline_nano__gte", 0),
                    ("baseline_nano__lte", 100000000000000000),
                ),
                name="value_agreements_money",
            ),
        ),
        migrations.AddConstraint(
            model_name="valueagreement",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ended_at", None), ("ends_month", None)),
                    models.Q(("ended_at__isnull", False), ("ends_month__isnull", False)),
                    _connector="OR",
                ),
                name="value_agreements_ended",
            ),
        ),
        migrations.AddConstraint(
            model_name="valueagreement",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ended_at", None)), fields=("developer_id",), name="value_agreements_one_live"
            ),
        ),
        migrations.AddField(
            model_name="valuebill",
            name="agreement",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="bills",
                to="billing.valueagreement",
                verbose_name="agreement",
            ),
        ),
        migrations.AddIndex(
            model_name="feesubscription",
            index=models.Index(
                condition=models.Q(("status", "ended"), _negated=True),
                fields=["paid_until"],
                name="fee_subscriptions_due",
            ),
        ),
        migrations.AddIndex(
            model_name="feesubscription",
            index=models.Index(fields=["app_id", "fee_key"], name="fee_subscriptions_app"),
        ),
        migrations.AddConstraint(
            model_name="feesubscription",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["active", "suspended", "cancelled", "ended"])),
                name="fee_subscriptions_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="feesubscription",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_nano__gt", 0), models.Q(("text", ""), _negated=True)),
                name="fee_subscriptions_disclosed",
            ),
        ),
        migrations.AddConstraint(
            model_name="feesubscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ended_at__isnull", False), ("status", "ended")),
                    models.Q(models.Q(("status", "ended"), _negated=True), ("ended_at", None)),
                    _connector="OR",
                ),
                name="fee_subscriptions_ended",
            ),
        ),
        migrations.AddConstraint(
            model_name="feesubscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "suspended"), _negated=True), ("suspended_at__isnull", False), _connector="OR"
                ),
                name="fee_subscriptions_suspended",
            ),
        ),
        migrations.AddConstraint(
            model_name="feesubscription",
            constraint=models.CheckConstraint(
                condition=models.Q(("anchor_periods__gte", 0), ("periods__gte", 0)), name="fee_subscriptions_periods"
            ),
        ),
        migrations.AddConstraint(
            model_name="feesubscription",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "ended"), _negated=True),
                fields=("end_user_id", "fee_key"),
                name="fee_subscriptions_one_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="feecharge",
            constraint=models.UniqueConstraint(fields=("subscription", "period"), name="fee_charges_once"),
        ),
        migrations.AddConstraint(
            model_name="feecharge",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_nano__gt", 0), ("developer_nano__gte", 0), ("period__gte", 1)),
                name="fee_charges_amounts",
            ),
        ),
        migrations.AddConstraint(
            model_name="valuebill",
            constraint=models.UniqueConstraint(fields=("developer_id", "month"), name="value_bills_once"),
        ),
        migrations.AddConstraint(
            model_name="valuebill",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("actual_nano__gte", 0), ("baseline_nano__gte", 0), ("fee_nano__gte", 0), ("savings_nano__gte", 0)
                ),
                name="value_bills_money",
            ),
        ),
        migrations.AddConstraint(
            model_name="valuebill",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("baseline_nano__lte", models.F("actual_nano")), ("savings_nano", 0)),
                    (
                        "savings_nano",
                        django.db.models.expressions.CombinedExpression(
                            models.F("baseline_nano"), "-", models.F("actual_nano")
                        ),
                    ),
                    _connector="OR",
                ),
                name="value_bills_savings",
            ),
        ),
        migrations.AddConstraint(
            model_name="valuebill",
            constraint=models.CheckConstraint(
                condition=models.Q(("transaction_id__isnull", False), ("fee_nano", 0), _connector="OR"),
                name="value_bills_posted",
            ),
        ),
        *(immutable_trigger(table) for table in ("plan_prices", "gate_attempts", "fees", "fee_charges", "value_bills")),
        migrations.RunSQL(SQL.read_text(), REVERSE.read_text()),
        # What an app charges is its operator's rare decision; who agreed to it is forgotten by itself.
        epoch_trigger("app_fees", "INSERT OR UPDATE OR DELETE"),
    ]
