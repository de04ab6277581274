"""What tables and columns are called in the admin: no table changes."""

import django.db.models.functions.comparison
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0003_task_runs"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterModelOptions(
                    name="forgottencaller",
                    options={"verbose_name": "forgotten caller", "verbose_name_plural": "forgotten callers"},
                ),
                migrations.AlterModelOptions(
                    name="policyepoch",
                    options={"verbose_name": "policy epoch", "verbose_name_plural": "policy epochs"},
                ),
                migrations.AlterField(
                    model_name="forgottencaller",
                    name="created_at",
                    field=models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="created at"
                    ),
                ),
                migrations.AlterField(
                    model_name="forgottencaller",
                    name="id",
                    field=models.BigAutoField(primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="forgottencaller",
                    name="kind",
                    field=models.CharField(max_length=20, verbose_name="kind"),
                ),
                migrations.AlterField(
                    model_name="forgottencaller",
                    name="subject_id",
                    field=models.CharField(max_length=40, verbose_name="subject id"),
                ),
                migrations.AlterField(
                    model_name="forgottencaller",
                    name="transaction_id",
                    field=models.BigIntegerField(
                        db_default=django.db.models.functions.comparison.Cast(
                            django.db.models.functions.comparison.Cast(
                                models.Func(function="pg_current_xact_id"), models.TextField()
                            ),
                            models.BigIntegerField(),
                        ),
                        verbose_name="transaction id",
                    ),
                ),
                migrations.AlterField(
                    model_name="policyepoch",
                    name="id",
                    field=models.SmallIntegerField(default=1, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="policyepoch",
                    name="number",
                    field=models.BigIntegerField(default=0, verbose_name="number"),
                ),
            ]
        )
    ]
