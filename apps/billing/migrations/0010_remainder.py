from django.db import migrations, models

_GUARD = """
CREATE OR REPLACE FUNCTION billing_guard_top_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (NEW.id, NEW.account_id, NEW.owner_id, NEW.idempotency_key)
        IS DISTINCT FROM (OLD.id, OLD.account_id, OLD.owner_id, OLD.idempotency_key)
        OR (NEW.amount_cents, NEW.credit_nano) IS DISTINCT FROM (OLD.amount_cents, OLD.credit_nano) {but} THEN
        RAISE EXCEPTION 'a top-up is not deleted, and its owner and amount never change' USING ERRCODE = '23514';
    END IF;
    IF OLD.transaction_id IS NOT NULL AND NEW.transaction_id IS DISTINCT FROM OLD.transaction_id
        OR OLD.transaction_id IS NOT NULL AND NEW.tax_cents <> OLD.tax_cents THEN
        RAISE EXCEPTION 'a top-up that is paid stays paid' USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;
"""
# What was really received, where an operator credits a payment that differs.
GUARD = _GUARD.format(but="AND (OLD.problem = '' OR OLD.transaction_id IS NOT NULL)")
GUARD_BEFORE = _GUARD.format(but="")


class Migration(migrations.Migration):
    dependencies = [("billing", "0009_operations")]
    operations = [
        migrations.CreateModel(
            name="InvoiceReturn",
            fields=[
                (
                    "id",
                    models.CharField(
                        max_length=100, primary_key=True, serialize=False, verbose_name="refund or dispute at Stripe"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("refund", "refund"), ("dispute", "dispute")], max_length=10, verbose_name="kind"
                    ),
                ),
                ("invoice_id", models.CharField(max_length=100, verbose_name="invoice at Stripe")),
                ("subscription_id", models.CharField(max_length=40, verbose_name="subscription")),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("waiting", "nothing withdrawn"),
                            ("returned", "returned"),
                            ("restored", "restored"),
                        ],
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("stripe_status", models.CharField(max_length=40, verbose_name="status at Stripe")),
                ("amount_nano", models.BigIntegerField(verbose_name="amount without tax")),
                ("tax_nano", models.BigIntegerField(verbose_name="tax")),
                (
                    "transaction_id",
                    models.BigIntegerField(blank=True, null=True, unique=True, verbose_name="ledger transaction"),
                ),
                (
                    "reversal_id",
                    models.BigIntegerField(blank=True, null=True, unique=True, verbose_name="reversal"),
                ),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("updated_at", models.DateTimeField(verbose_name="changed at")),
            ],
            options={
                "verbose_name": "returned invoice",
                "verbose_name_plural": "returned invoices",
                "db_table": "invoice_returns",
                "indexes": [models.Index(fields=["invoice_id"], name="invoice_returns_invoice")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["refund", "dispute"])), name="invoice_returns_kind"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("amount_nano__gte", 0), ("tax_nano__gte", 0)), name="invoice_returns_money"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("reversal_id", None), ("status", "waiting"), ("transaction_id", None)),
                            models.Q(("reversal_id", None), ("status", "returned"), ("transaction_id__isnull", False)),
                            models.Q(
                                ("reversal_id__isnull", False),
                                ("status", "restored"),
                                ("transaction_id__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="invoice_returns_posted",
                    ),
                ],
            },
        ),
        migrations.AddField(
            model_name="billingcustomer",
            name="card_fingerprint",
            field=models.CharField(
                blank=True,
                default="",
                help_text="The same for the same card, whoever saved it.",
                max_length=64,
                verbose_name="Stripe's mark of the card",
            ),
        ),
        migrations.RunSQL(GUARD, GUARD_BEFORE),
    ]
