from django.db import migrations

from apps.ledger.migrations._sql import sibling_sql


class Migration(migrations.Migration):
    dependencies = [("ledger", "0003_holds")]
    operations = [sibling_sql(__file__)]
