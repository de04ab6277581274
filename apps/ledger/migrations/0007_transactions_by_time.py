import django.contrib.postgres.indexes
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("ledger", "0006_billing_accounts")]
    operations = [
        migrations.AddIndex(
            model_name="ledgertransaction",
            index=django.contrib.postgres.indexes.BrinIndex(
                autosummarize=True, fields=["effective_at"], name="ledger_transactions_time", pages_per_range=64
            ),
        ),
    ]
