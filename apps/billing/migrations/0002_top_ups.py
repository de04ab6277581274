import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models
from django.db.migrations import RunSQL

GUARD = """
CREATE FUNCTION billing_guard_top_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (NEW.id, NEW.account_id, NEW.amount_cents, NEW.credit_nano, NEW.owner_id, NEW.idempotency_key)
        IS DISTINCT FROM (OLD.id, OLD.account_id, OLD.amount_cents, OLD.credit_nano, OLD.owner_id, OLD.idempotency_key) THEN
        RAISE EXCEPTION 'a top-up is not deleted, and its owner and amount never change' USING ERRCODE = '23514';
    END IF;
    IF OLD.transaction_id IS NOT NULL AND NEW.transaction_id IS DISTINCT FROM OLD.transaction_id
        OR OLD.transaction_id IS NOT NULL AND NEW.tax_cents <> OLD.tax_cents THEN
        RAISE EXCEPTION 'a top-up that is paid stays paid' USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER top_ups_guard BEFORE UPDATE OR DELETE ON top_ups FOR EACH ROW EXECUTE FUNCTION billing_guard_top_up();
"""
UNGUARD = "DROP TRIGGER top_ups_guard ON top_ups; DROP FUNCTION billing_guard_top_up();"


class Migration(migrations.Migration):
    """Top-ups, their repetition, refunds, and what Stripe knows a wallet's owner by."""

    dependencies = [
        ("billing", "0001_stripe"),
    ]

    operations = [
        migrations.CreateModel(
            name="BillingCustomer",
            fields=[
                ("account_id", models.BigIntegerField(primary_key=True, serialize=False, verbose_name="account")),
                ("idempotency_key", models.CharField(max_length=40, unique=True, verbose_name="idempotency key")),
                (
                    "customer_id",
                    models.CharField(blank=True, max_length=64, null=True, unique=True, verbose_name="Stripe customer"),
                ),
                (
                    "payment_method_id",
                    models.CharField(blank=True, default="", max_length=64, verbose_name="saved card at Stripe"),
                ),
                ("card_brand", models.CharField(blank=True, default="", max_length=20, verbose_name="card brand")),
                ("card_last4", models.CharField(blank=True, default="", max_length=4, verbose_name="last four digits")),
                ("card_exp_month", models.SmallIntegerField(blank=True, null=True, verbose_name="valid until month")),
                ("card_exp_year", models.SmallIntegerField(blank=True, null=True, verbose_name="valid until year")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("updated_at", models.DateTimeField(verbose_name="updated at")),
            ],
            options={
                "verbose_name": "billing customer",
                "verbose_name_plural": "billing customers",
                "db_table": "billing_customers",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("payment_method_id", ""), ("customer_id__isnull", False), _connector="OR"),
                        name="billing_customers_card",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("customer_id", ""), _negated=True), name="billing_customers_customer"
                    ),
                ],
                "indexes": [],
            },
        ),
        migrations.CreateModel(
            name="TopUp",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                ("account_id", models.BigIntegerField(verbose_name="account")),
                (
                    "owner_kind",
                    models.CharField(
                        choices=[("end_user", "End user"), ("developer_credit", "Developer's prepaid credit")],
                        max_length=20,
                        verbose_name="owner's kind",
                    ),
                ),
                ("owner_id", models.CharField(max_length=40, verbose_name="owner")),
                ("app_id", models.CharField(blank=True, default="", max_length=40, verbose_name="app")),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("checkout", "Stripe's payment page"),
                            ("saved_card", "saved card"),
                            ("auto", "automatic, with the saved card"),
                        ],
                        max_length=12,
                        verbose_name="source",
                    ),
                ),
                ("credit_nano", models.BigIntegerField(verbose_name="credit")),
                ("amount_cents", models.BigIntegerField(verbose_name="amount in cents")),
                ("tax_cents", models.BigIntegerField(default=0, verbose_name="tax in cents")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("sending", "being sent"),
                            ("open", "waiting for the payer"),
                            ("pending", "payment under way"),
                            ("paid", "paid"),
                            ("failed", "failed"),
                            ("expired", "expired"),
                            ("canceled", "canceled"),
                        ],
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("problem", models.CharField(blank=True, default="", max_length=300, verbose_name="problem")),
                ("error_code", models.CharField(blank=True, default="", max_length=64, verbose_name="why it failed")),
                (
                    "checkout_session_id",
                    models.CharField(
                        blank=True, max_length=100, null=True, unique=True, verbose_name="Checkout session"
                    ),
                ),
                (
                    "payment_intent_id",
                    models.CharField(blank=True, max_length=64, null=True, unique=True, verbose_name="payment intent"),
                ),
                (
                    "charge_id",
                    models.CharField(blank=True, max_length=64, null=True, unique=True, verbose_name="charge"),
                ),
                ("checkout_url", models.TextField(blank=True, default="", verbose_name="payment page")),
                ("receipt_url", models.TextField(blank=True, default="", verbose_name="Stripe's receipt")),
                (
                    "return_url",
                    models.CharField(blank=True, default="", max_length=500, verbose_name="address to go back to"),
                ),
                (
                    "base_url",
                    models.CharField(blank=True, default="", max_length=300, verbose_name="address of this instance"),
                ),
                ("save_card", models.BooleanField(default=False, verbose_name="save the card")),
                (
                    "payment_method_id",
                    models.CharField(blank=True, default="", max_length=64, verbose_name="card charged"),
                ),
                (
                    "tax_calculation_id",
                    models.CharField(blank=True, default="", max_length=64, verbose_name="tax calculation"),
                ),
                (
                    "transaction_id",
                    models.BigIntegerField(blank=True, null=True, unique=True, verbose_name="ledger transaction"),
                ),
                ("refunded_cents", models.BigIntegerField(default=0, verbose_name="credit refunded in cents")),
                ("refunded_tax_cents", models.BigIntegerField(default=0, verbose_name="tax refunded in cents")),
                ("idempotency_key", models.CharField(max_length=255, verbose_name="idempotency key")),
                ("looks", models.IntegerField(default=0, verbose_name="looks at Stripe")),
                ("next_look_at", models.DateTimeField(blank=True, null=True, verbose_name="next look at Stripe")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("updated_at", models.DateTimeField(verbose_name="updated at")),
                ("paid_at", models.DateTimeField(blank=True, null=True, verbose_name="paid at")),
                ("actor", models.CharField(max_length=100, verbose_name="by")),
            ],
            options={
                "verbose_name": "top-up",
                "verbose_name_plural": "top-ups",
                "db_table": "top_ups",
                "indexes": [
                    models.Index(fields=["account_id", "-id"], name="top_ups_account"),
                    models.Index(
                        condition=models.Q(("next_look_at__isnull", False)),
                        fields=["next_look_at"],
                        name="top_ups_waiting",
                    ),
                    models.Index(
                        condition=models.Q(("source", "auto")),
                        fields=["account_id", "created_at"],
                        name="top_ups_automatic",
                    ),
                    models.Index(
                        condition=models.Q(("problem", ""), _negated=True), fields=["id"], name="top_ups_problems"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("owner_kind__in", ["end_user", "developer_credit"])),
                        name="top_ups_owner_kind",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("source__in", ["checkout", "saved_card", "auto"])), name="top_ups_source"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("status__in", ["sending", "open", "pending", "paid", "failed", "expired", "canceled"])
                        ),
                        name="top_ups_status",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("amount_cents__gt", 0),
                            ("amount_cents__lte", 10000000000),
                            (
                                "credit_nano",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("amount_cents"), "*", models.Value(10000000)
                                ),
                            ),
                            ("tax_cents__gte", 0),
                            ("tax_cents__lte", 10000000000),
                        ),
                        name="top_ups_amount",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("paid_at__isnull", False), ("status", "paid"), ("transaction_id__isnull", False)),
                            models.Q(
                                models.Q(("status", "paid"), _negated=True),
                                ("paid_at__isnull", True),
                                ("transaction_id__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="top_ups_paid_is_posted",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("refunded_cents__gte", 0),
                            ("refunded_cents__lte", models.F("amount_cents")),
                            ("refunded_tax_cents__gte", 0),
                            ("refunded_tax_cents__lte", models.F("tax_cents")),
                            models.Q(
                                models.Q(("refunded_cents", 0), ("refunded_tax_cents", 0)),
                                ("status", "paid"),
                                _connector="OR",
                            ),
                        ),
                        name="top_ups_refunded",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("next_look_at__isnull", False), ("status__in", ["sending", "open", "pending"])),
                            models.Q(
                                models.Q(("status__in", ["sending", "open", "pending"]), _negated=True),
                                ("next_look_at__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="top_ups_waiting_is_looked_at",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("checkout_session_id", ""), _negated=True),
                            models.Q(("payment_intent_id", ""), _negated=True),
                            models.Q(("charge_id", ""), _negated=True),
                        ),
                        name="top_ups_stripe_ids",
                    ),
                    models.UniqueConstraint(fields=("account_id", "idempotency_key"), name="top_ups_key"),
                    models.UniqueConstraint(
                        condition=models.Q(("source", "auto"), ("status__in", ["sending", "open", "pending"])),
                        fields=("account_id",),
                        name="top_ups_one_automatic",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AutoTopUp",
            fields=[
                ("account_id", models.BigIntegerField(primary_key=True, serialize=False, verbose_name="account")),
                (
                    "owner_kind",
                    models.CharField(
                        choices=[("end_user", "End user"), ("developer_credit", "Developer's prepaid credit")],
                        max_length=20,
                        verbose_name="owner's kind",
                    ),
                ),
                ("owner_id", models.CharField(max_length=40, verbose_name="owner")),
                ("app_id", models.CharField(blank=True, default="", max_length=40, verbose_name="app")),
                ("threshold_nano", models.BigIntegerField(verbose_name="threshold")),
                ("amount_cents", models.BigIntegerField(verbose_name="amount in cents")),
                ("monthly_cap_cents", models.BigIntegerField(verbose_name="most a month in cents")),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                ("failures", models.IntegerField(default=0, verbose_name="failures in a row")),
                (
                    "paused_reason",
                    models.CharField(blank=True, default="", max_length=64, verbose_name="why it is paused"),
                ),
                ("not_before", models.DateTimeField(blank=True, null=True, verbose_name="not again before")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("updated_at", models.DateTimeField(verbose_name="updated at")),
                ("actor", models.CharField(max_length=100, verbose_name="by")),
            ],
            options={
                "verbose_name": "automatic top-up",
                "verbose_name_plural": "automatic top-ups",
                "db_table": "auto_top_ups",
                "indexes": [
                    models.Index(
                        condition=models.Q(("enabled", True), ("paused_reason", "")),
                        fields=["account_id"],
                        name="auto_top_ups_in_force",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("owner_kind__in", ["end_user", "developer_credit"])),
                        name="auto_top_ups_owner_kind",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("amount_cents__gt", 0),
                            ("amount_cents__lte", models.F("monthly_cap_cents")),
                            ("monthly_cap_cents__lte", 10000000000),
                            ("threshold_nano__gt", 0),
                            ("threshold_nano__lte", 100000000000000000),
                        ),
                        name="auto_top_ups_amounts",
                    ),
                    models.CheckConstraint(condition=models.Q(("failures__gte", 0)), name="auto_top_ups_failures"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Refund",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                (
                    "top_up",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="refunds",
                        to="billing.topup",
                        verbose_name="top-up",
                    ),
                ),
                ("account_id", models.BigIntegerField(verbose_name="account")),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("operator", "an operator"),
                            ("owner", "the wallet's owner"),
                            ("stripe", "made at Stripe"),
                        ],
                        max_length=10,
                        verbose_name="asked by",
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("requested", "requested"),
                            ("sending", "being sent"),
                            ("succeeded", "succeeded"),
                            ("failed", "failed"),
                        ],
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("amount_cents", models.BigIntegerField(verbose_name="credit in cents")),
                ("tax_cents", models.BigIntegerField(default=0, verbose_name="tax in cents")),
                (
                    "stripe_refund_id",
                    models.CharField(blank=True, max_length=64, null=True, unique=True, verbose_name="Stripe refund"),
                ),
                ("transaction_id", models.BigIntegerField(unique=True, verbose_name="ledger transaction")),
                (
                    "reversal_id",
                    models.BigIntegerField(blank=True, null=True, unique=True, verbose_name="ledger reversal"),
                ),
                ("reason", models.CharField(blank=True, default="", max_length=500, verbose_name="reason")),
                ("error_code", models.CharField(blank=True, default="", max_length=64, verbose_name="why it failed")),
                ("idempotency_key", models.CharField(max_length=255, verbose_name="idempotency key")),
                ("looks", models.IntegerField(default=0, verbose_name="looks at Stripe")),
                ("next_look_at", models.DateTimeField(blank=True, null=True, verbose_name="next look at Stripe")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("updated_at", models.DateTimeField(verbose_name="updated at")),
                ("actor", models.CharField(max_length=100, verbose_name="by")),
            ],
            options={
                "verbose_name": "refund",
                "verbose_name_plural": "refunds",
                "db_table": "refunds",
                "indexes": [
                    models.Index(fields=["account_id", "-id"], name="refunds_account"),
                    models.Index(
                        condition=models.Q(("next_look_at__isnull", False)),
                        fields=["next_look_at"],
                        name="refunds_under_way",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("source__in", ["operator", "owner", "stripe"])), name="refunds_source"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["requested", "sending", "succeeded", "failed"])),
                        name="refunds_status",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("amount_cents__gte", 0),
                            ("amount_cents__lte", 10000000000),
                            ("tax_cents__gte", 0),
                            ("tax_cents__lte", 10000000000),
                            models.Q(("amount_cents__gt", 0), ("tax_cents__gt", 0), _connector="OR"),
                        ),
                        name="refunds_amount",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("reversal_id__isnull", False), ("status", "failed")),
                            models.Q(models.Q(("status", "failed"), _negated=True), ("reversal_id__isnull", True)),
                            _connector="OR",
                        ),
                        name="refunds_failed_is_reversed",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("status", "succeeded"), _negated=True),
                            ("stripe_refund_id__isnull", False),
                            _connector="OR",
                        ),
                        name="refunds_succeeded",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("next_look_at__isnull", False), ("status__in", ["requested", "sending"])),
                            models.Q(
                                models.Q(("status__in", ["requested", "sending"]), _negated=True),
                                ("next_look_at__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="refunds_under_way_is_looked_at",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("stripe_refund_id", ""), _negated=True), name="refunds_stripe_id"
                    ),
                    models.UniqueConstraint(fields=("account_id", "idempotency_key"), name="refunds_key"),
                ],
            },
        ),
        RunSQL(GUARD, UNGUARD),
    ]
