from pathlib import Path

from django.db import migrations

HERE = Path(__file__).parent


class Migration(migrations.Migration):
    dependencies = [("usage", "0001_events"), ("core", "0001_policy_epoch"), ("ledger", "0003_holds")]
    operations = [
        migrations.RunSQL((HERE / "settle.sql").read_text(), (HERE / "unsettle.sql").read_text()),
    ]
