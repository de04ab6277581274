from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("core", "0002_forgotten_callers")]
    operations = [
        migrations.CreateModel(
            name="TaskRun",
            fields=[
                ("name", models.CharField(max_length=100, primary_key=True, serialize=False, verbose_name="task")),
                ("started_at", models.DateTimeField(verbose_name="started at")),
                ("duration_ms", models.BigIntegerField(verbose_name="duration, ms")),
                ("failures", models.IntegerField(verbose_name="failures in a row")),
                ("error", models.CharField(blank=True, max_length=300, verbose_name="error")),
                ("failed_at", models.DateTimeField(null=True, verbose_name="last failed at")),
                ("succeeded_at", models.DateTimeField(null=True, verbose_name="last succeeded at")),
            ],
            options={
                "verbose_name": "run of a task",
                "verbose_name_plural": "runs of tasks",
                "db_table": "task_runs",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("duration_ms__gte", 0), ("failures__gte", 0)),
                        name="task_runs_not_negative",
                    )
                ],
            },
        ),
    ]
