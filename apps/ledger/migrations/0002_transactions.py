import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q
from django.db.models.fields.json import KeyTextTransform

from apps.core.migration_helpers import immutable_trigger
from apps.ledger.migrations._sql import sibling_sql


class Migration(migrations.Migration):
    dependencies = [("ledger", "0001_accounts")]
    operations = [
        migrations.CreateModel(
            name="LedgerTransaction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=40, verbose_name="kind")),
                ("idempotency_key", models.TextField(verbose_name="idempotency key")),
                ("request_hash", models.CharField(max_length=64, verbose_name="content hash")),
                (
                    "reverses",
                    models.ForeignKey(
                        blank=True,
                        db_column="reverses",
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="reversals",
                        to="ledger.ledgertransaction",
                    ),
                ),
                ("memo", models.JSONField(default=dict, verbose_name="memo")),
                ("actor", models.TextField(verbose_name="actor")),
                ("effective_at", models.DateTimeField(verbose_name="effective at")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
            ],
            options={
                "db_table": "ledger_transactions",
                "verbose_name": "ledger transaction",
                "verbose_name_plural": "ledger transactions",
                "constraints": [
                    models.UniqueConstraint(fields=["idempotency_key"], name="ledger_transactions_idempotency_key"),
                    models.UniqueConstraint(
                        fields=["reverses"],
                        condition=Q(reverses__isnull=False),
                        name="ledger_transactions_reversed_once",
                    ),
                    models.CheckConstraint(
                        condition=~Q(kind="") & ~Q(idempotency_key=""), name="ledger_transactions_named"
                    ),
                ],
                "indexes": [
                    models.Index(KeyTextTransform("request_id", "memo"), name="ledger_transactions_request"),
                ],
            },
        ),
        migrations.CreateModel(
            name="LedgerEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "transaction",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="entries",
                        to="ledger.ledgertransaction",
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="entries",
                        to="ledger.ledgeraccount",
                    ),
                ),
                ("amount", models.BigIntegerField(verbose_name="amount")),
            ],
            options={
                "db_table": "ledger_entries",
                "verbose_name": "ledger entry",
                "verbose_name_plural": "ledger entries",
                "constraints": [
                    models.CheckConstraint(
                        condition=~Q(amount=0) & Q(amount__gte=-(10**17), amount__lte=10**17),
                        name="ledger_entries_amount",
                    ),
                ],
                "indexes": [models.Index(fields=["account", "id"], name="ledger_entries_statement")],
            },
        ),
        immutable_trigger("ledger_transactions"),
        immutable_trigger("ledger_entries"),
        sibling_sql(__file__),
    ]
