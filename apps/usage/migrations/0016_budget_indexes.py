import django.contrib.postgres.indexes
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0015_days"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="budget",
            index=models.Index(
                condition=models.Q(
                    ("enabled", True),
                    ("end_user_id", None),
                    models.Q(("developer_id", None), ("end_user_id", None), ("scope", "end_user"), _negated=True),
                ),
                fields=["id"],
                name="budgets_for_all",
            ),
        ),
        migrations.AddIndex(
            model_name="budget",
            index=models.Index(fields=["scope", "scope_id"], name="budgets_scope_id_found"),
        ),
        migrations.AddIndex(
            model_name="budget",
            index=django.contrib.postgres.indexes.GinIndex(fields=["successors"], name="budgets_successors_found"),
        ),
    ]
