import django.contrib.postgres.indexes
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("usage", "0016_budget_indexes")]
    operations = [
        migrations.AddIndex(
            model_name="usageevent",
            index=django.contrib.postgres.indexes.BrinIndex(
                autosummarize=True, fields=["effective_at"], name="usage_events_time", pages_per_range=64
            ),
        ),
    ]
