from django.db import migrations, models

from apps.core.migration_helpers import immutable_trigger


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0018_dead_letters"),
    ]

    operations = [
        migrations.CreateModel(
            name="LocalReport",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False, verbose_name="id")),
                ("end_user_id", models.CharField(max_length=40, verbose_name="end user")),
                (
                    "report_id",
                    models.CharField(help_text="As its sender named it.", max_length=64, verbose_name="report"),
                ),
                ("content_hash", models.CharField(max_length=64, verbose_name="hash of the content")),
                ("request_id", models.CharField(max_length=40, unique=True, verbose_name="request")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
            ],
            options={
                "verbose_name": "report of a local call",
                "verbose_name_plural": "reports of local calls",
                "db_table": "local_reports",
                "constraints": [
                    models.UniqueConstraint(fields=("end_user_id", "report_id"), name="local_reports_once"),
                    models.CheckConstraint(
                        condition=models.Q(("report_id", ""), _negated=True), name="local_reports_named"
                    ),
                ],
            },
        ),
        immutable_trigger("local_reports"),
    ]
