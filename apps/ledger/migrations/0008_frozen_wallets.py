from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ledger", "0007_transactions_by_time")]
    operations = [
        migrations.AddIndex(
            model_name="wallet",
            index=models.Index(
                condition=models.Q(("frozen_at__isnull", False)), fields=["frozen_at"], name="wallets_frozen"
            ),
        ),
    ]
