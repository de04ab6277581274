import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models

# What others say is a fact: only what it matches, how it was resolved and whether it was confirmed are added, once.
FACTS = """
CREATE TRIGGER balance_transactions_facts
    BEFORE UPDATE OF id, type, category, source, amount_cents, fee_cents, net_cents, created_at, imported_at OR DELETE
    ON balance_transactions FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER balance_transactions_matched_once
    BEFORE UPDATE ON balance_transactions
    FOR EACH ROW WHEN (
        OLD.state = 'matched'
        OR (OLD.fee_transaction_id IS NOT NULL AND NEW.fee_transaction_id IS DISTINCT FROM OLD.fee_transaction_id)
    ) EXECUTE FUNCTION core_refuse_change();

CREATE TRIGGER reconciliation_runs_facts
    BEFORE DELETE ON reconciliation_runs FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER reconciliation_runs_finished_once
    BEFORE UPDATE ON reconciliation_runs
    FOR EACH ROW WHEN (OLD.status <> 'running') EXECUTE FUNCTION core_refuse_change();

CREATE TRIGGER reconciliation_items_facts
    BEFORE UPDATE OF id, run_id, source, kind, reference, theirs_nano, ours_nano, balance_transaction_id,
                     transaction_id, developer_id, note, created_at OR DELETE
    ON reconciliation_items FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER reconciliation_items_resolved_once
    BEFORE UPDATE ON reconciliation_items
    FOR EACH ROW WHEN (OLD.resolved_at IS NOT NULL) EXECUTE FUNCTION core_refuse_change();

CREATE TRIGGER provider_invoices_facts
    BEFORE UPDATE OF id, provider, period_begin, period_end, total_nano, line_count, file_name, file_hash, columns,
                     created_at, created_by OR DELETE
    ON provider_invoices FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER provider_invoices_decided_once
    BEFORE UPDATE ON provider_invoices
    FOR EACH ROW WHEN (OLD.state <> 'draft') EXECUTE FUNCTION core_refuse_change();

-- The lines of a draft go when it is discarded; those of an invoice that was imported stay as they are.
CREATE FUNCTION billing_check_invoice_line() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT state FROM provider_invoices WHERE id = coalesce(NEW.invoice_id, OLD.invoice_id)) <> 'draft' THEN
        RAISE EXCEPTION 'the lines of invoice % are settled', coalesce(NEW.invoice_id, OLD.invoice_id)
            USING ERRCODE = '23514';
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER provider_invoice_lines_of_draft
    BEFORE INSERT OR DELETE ON provider_invoice_lines
    FOR EACH ROW EXECUTE FUNCTION billing_check_invoice_line();
CREATE TRIGGER provider_invoice_lines_facts
    BEFORE UPDATE ON provider_invoice_lines FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
"""
BACK = """
DROP TRIGGER provider_invoice_lines_facts ON provider_invoice_lines;
DROP TRIGGER provider_invoice_lines_of_draft ON provider_invoice_lines;
DROP FUNCTION billing_check_invoice_line();
DROP TRIGGER provider_invoices_decided_once ON provider_invoices;
DROP TRIGGER provider_invoices_facts ON provider_invoices;
DROP TRIGGER reconciliation_items_resolved_once ON reconciliation_items;
DROP TRIGGER reconciliation_items_facts ON reconciliation_items;
DROP TRIGGER reconciliation_runs_finished_once ON reconciliation_runs;
DROP TRIGGER reconciliation_runs_facts ON reconciliation_runs;
DROP TRIGGER balance_transactions_matched_once ON balance_transactions;
DROP TRIGGER balance_transactions_facts ON balance_transactions;
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0007_risk")]

    operations = [
        migrations.CreateModel(
            name="BalanceTransaction",
            fields=[
                ("id", models.CharField(max_length=64, primary_key=True, serialize=False, verbose_name="id at Stripe")),
                ("type", models.CharField(max_length=64, verbose_name="type")),
                ("category", models.CharField(blank=True, default="", max_length=64, verbose_name="category")),
                ("source", models.CharField(blank=True, default="", max_length=64, verbose_name="source")),
                (
                    "references",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100), default=list, size=None, verbose_name="references"
                    ),
                ),
                ("amount_cents", models.BigIntegerField(verbose_name="amount in cents")),
                ("fee_cents", models.BigIntegerField(verbose_name="fee in cents")),
                ("net_cents", models.BigIntegerField(verbose_name="net in cents")),
                ("description", models.CharField(blank=True, default="", max_length=300, verbose_name="description")),
                ("available_on", models.DateTimeField(verbose_name="available on")),
                ("created_at", models.DateTimeField(verbose_name="created at Stripe")),
                (
                    "state",
                    models.CharField(
                        choices=[("open", "open"), ("matched", "matched")], max_length=10, verbose_name="state"
                    ),
                ),
                (
                    "transaction_id",
                    models.BigIntegerField(blank=True, null=True, unique=True, verbose_name="ledger transaction"),
                ),
                (
                    "fee_transaction_id",
                    models.BigIntegerField(
                        blank=True, null=True, unique=True, verbose_name="ledger transaction of the fee"
                    ),
                ),
                ("matched_at", models.DateTimeField(blank=True, null=True, verbose_name="matched at")),
                ("imported_at", models.DateTimeField(verbose_name="imported at")),
            ],
            options={
                "verbose_name": "balance transaction",
                "verbose_name_plural": "balance transactions",
                "db_table": "balance_transactions",
                "indexes": [
                    models.Index(fields=["created_at"], name="balance_transactions_created"),
                    models.Index(
                        condition=models.Q(("state", "open")), fields=["id"], name="balance_transactions_open"
                    ),
                    django.contrib.postgres.indexes.GinIndex(fields=["references"], name="balance_transactions_refs"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "net_cents",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("amount_cents"), "-", models.F("fee_cents")
                                ),
                            )
                        ),
                        name="balance_transactions_net",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["open", "matched"])), name="balance_transactions_state"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("matched_at", None), ("state", "open"), ("transaction_id", None)),
                            models.Q(
                                ("matched_at__isnull", False),
                                ("state", "matched"),
                                models.Q(
                                    ("transaction_id__isnull", False),
                                    ("fee_transaction_id__isnull", False),
                                    ("amount_cents", 0),
                                    ("net_cents", 0),
                                    _connector="OR",
                                ),
                            ),
                            _connector="OR",
                        ),
                        name="balance_transactions_matched",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ProviderInvoice",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                ("provider", models.CharField(max_length=64, verbose_name="provider")),
                (
                    "state",
                    models.CharField(
                        choices=[("draft", "to be confirmed"), ("imported", "imported"), ("discarded", "discarded")],
                        max_length=10,
                        verbose_name="state",
                    ),
                ),
                ("period_begin", models.DateField(verbose_name="first day")),
                ("period_end", models.DateField(verbose_name="last day")),
                ("total_nano", models.BigIntegerField(verbose_name="total")),
                ("line_count", models.IntegerField(verbose_name="lines")),
                ("file_name", models.CharField(max_length=200, verbose_name="file")),
                ("file_hash", models.CharField(max_length=64, verbose_name="SHA-256 of the file")),
                ("columns", models.JSONField(default=dict, verbose_name="columns")),
                ("created_at", models.DateTimeField(verbose_name="read at")),
                ("created_by", models.CharField(max_length=100, verbose_name="read by")),
                ("decided_at", models.DateTimeField(blank=True, null=True, verbose_name="confirmed or discarded at")),
                (
                    "decided_by",
                    models.CharField(blank=True, default="", max_length=100, verbose_name="confirmed or discarded by"),
                ),
            ],
            options={
                "verbose_name": "provider's invoice",
                "verbose_name_plural": "providers' invoices",
                "db_table": "provider_invoices",
                "indexes": [models.Index(fields=["provider", "period_begin"], name="provider_invoices_provider")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["draft", "imported", "discarded"])),
                        name="provider_invoices_state",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("decided_at", None), ("decided_by", ""), ("state", "draft")),
                            models.Q(
                                models.Q(("state", "draft"), _negated=True),
                                ("decided_at__isnull", False),
                                models.Q(("decided_by", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="provider_invoices_decided",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("line_count__gte", 1), ("period_end__gte", models.F("period_begin"))),
                        name="provider_invoices_period",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "discarded"), _negated=True),
                        fields=("file_hash",),
                        name="provider_invoices_file_once",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ReconciliationRun",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                (
                    "kind",
                    models.CharField(
                        choices=[("stripe", "Stripe's balance"), ("provider", "a provider's invoice")],
                        max_length=10,
                        verbose_name="kind",
                    ),
                ),
                ("reference", models.CharField(blank=True, default="", max_length=64, verbose_name="of")),
                ("period_begin", models.DateField(verbose_name="from")),
                ("period_end", models.DateField(verbose_name="until")),
                (
                    "status",
                    models.CharField(
                        choices=[("running", "running"), ("finished", "finished"), ("failed", "failed")],
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("matched", models.IntegerField(default=0, verbose_name="matched")),
                ("missing_here", models.IntegerField(default=0, verbose_name="missing here")),
                ("missing_there", models.IntegerField(default=0, verbose_name="missing there")),
                ("differing", models.IntegerField(default=0, verbose_name="differing")),
                ("waiting", models.IntegerField(default=0, verbose_name="within their grace")),
                ("theirs_nano", models.BigIntegerField(default=0, verbose_name="theirs")),
                ("ours_nano", models.BigIntegerField(default=0, verbose_name="ours")),
                ("difference_nano", models.BigIntegerField(default=0, verbose_name="difference")),
                ("explained_nano", models.BigIntegerField(default=0, verbose_name="of it explained")),
                ("error", models.CharField(blank=True, default="", max_length=500, verbose_name="error")),
                ("actor", models.CharField(max_length=100, verbose_name="by")),
                ("started_at", models.DateTimeField(verbose_name="started at")),
                ("finished_at", models.DateTimeField(blank=True, null=True, verbose_name="finished at")),
            ],
            options={
                "verbose_name": "reconciliation run",
                "verbose_name_plural": "reconciliation runs",
                "db_table": "reconciliation_runs",
                "permissions": [("export_all", "Can export the tables of the whole instance")],
                "indexes": [models.Index(fields=["kind", "-started_at"], name="reconciliation_runs_latest")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["stripe", "provider"])), name="reconciliation_runs_kind"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["running", "finished", "failed"])),
                        name="reconciliation_runs_status",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("finished_at", None), ("status", "running")),
                            models.Q(models.Q(("status", "running"), _negated=True), ("finished_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="reconciliation_runs_finished",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "difference_nano",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("theirs_nano"), "-", models.F("ours_nano")
                                ),
                            )
                        ),
                        name="reconciliation_runs_difference",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("status", "running")),
                        fields=("kind", "reference"),
                        name="reconciliation_runs_one_running",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("period_end__gte", models.F("period_begin"))),
                        name="reconciliation_runs_period",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ProviderInvoiceLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.IntegerField(verbose_name="line")),
                ("day", models.DateField(verbose_name="day")),
                ("model", models.CharField(max_length=200, verbose_name="model")),
                ("tokens", models.BigIntegerField(blank=True, null=True, verbose_name="tokens")),
                ("amount_nano", models.BigIntegerField(verbose_name="amount")),
                (
                    "invoice",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="lines",
                        to="billing.providerinvoice",
                        verbose_name="invoice",
                    ),
                ),
            ],
            options={
                "verbose_name": "line of a provider's invoice",
                "verbose_name_plural": "lines of providers' invoices",
                "db_table": "provider_invoice_lines",
                "indexes": [models.Index(fields=["invoice", "day", "model"], name="provider_invoice_lines_day")],
                "constraints": [
                    models.UniqueConstraint(fields=("invoice", "number"), name="provider_invoice_lines_number"),
                    models.CheckConstraint(
                        condition=models.Q(("tokens", None), ("tokens__gte", 0), _connector="OR"),
                        name="provider_invoice_lines_tokens",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("model", ""), _negated=True), name="provider_invoice_lines_model"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ReconciliationItem",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                (
                    "source",
                    models.CharField(
                        choices=[("stripe", "Stripe's balance"), ("provider", "a provider's invoice")],
                        max_length=10,
                        verbose_name="compared with",
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("missing_here", "they have it, we do not"),
                            ("missing_there", "we have it, they do not"),
                            ("amount_differs", "the amounts differ"),
                            ("state_differs", "the states differ"),
                        ],
                        max_length=16,
                        verbose_name="kind",
                    ),
                ),
                ("reference", models.CharField(max_length=200, verbose_name="reference")),
                ("theirs_nano", models.BigIntegerField(blank=True, null=True, verbose_name="theirs")),
                ("ours_nano", models.BigIntegerField(blank=True, null=True, verbose_name="ours")),
                (
                    "balance_transaction_id",
                    models.CharField(blank=True, default="", max_length=64, verbose_name="balance transaction"),
                ),
                ("transaction_id", models.BigIntegerField(blank=True, null=True, verbose_name="ledger transaction")),
                ("developer_id", models.CharField(blank=True, default="", max_length=40, verbose_name="developer")),
                ("note", models.TextField(blank=True, default="", verbose_name="note")),
                ("created_at", models.DateTimeField(verbose_name="found at")),
                ("resolved_at", models.DateTimeField(blank=True, null=True, verbose_name="resolved at")),
                ("resolved_by", models.CharField(blank=True, default="", max_length=100, verbose_name="resolved by")),
                ("resolution", models.CharField(blank=True, default="", max_length=500, verbose_name="resolution")),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="items",
                        to="billing.reconciliationrun",
                        verbose_name="run",
                    ),
                ),
            ],
            options={
                "verbose_name": "difference",
                "verbose_name_plural": "differences",
                "db_table": "reconciliation_items",
                "indexes": [
                    models.Index(
                        condition=models.Q(("resolved_at", None)),
                        fields=["developer_id"],
                        name="reconciliation_items_open",
                    ),
                    models.Index(fields=["source", "reference"], name="reconciliation_items_reference"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("kind__in", ["missing_here", "missing_there", "amount_differs", "state_differs"])
                        ),
                        name="reconciliation_items_kind",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("source__in", ["stripe", "provider"])), name="reconciliation_items_of"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("resolution", ""), ("resolved_at", None), ("resolved_by", "")),
                            models.Q(
                                ("resolved_at__isnull", False),
                                models.Q(("resolved_by", ""), _negated=True),
                                models.Q(("resolution", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="reconciliation_items_resolved",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("resolved_at", None)),
                        fields=("source", "kind", "reference"),
                        name="reconciliation_items_open_once",
                    ),
                ],
            },
        ),
        migrations.RunSQL(FACTS, BACK),
    ]
