from django.db import migrations, models

import apps.vault.fields

# Plain text cannot be put into the column, whoever writes.
SEALED = r"CHECK (content ~ '^mfv1\.[0-9a-f]{8}\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+$')"


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0007_cache_price"),
    ]

    operations = [
        migrations.CreateModel(
            name="PromptLog",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("request_id", models.CharField(max_length=40, unique=True)),
                ("app_id", models.CharField(max_length=40)),
                ("developer_id", models.CharField(max_length=40)),
                ("feature_key", models.CharField(max_length=64)),
                (
                    "kind",
                    models.CharField(
                        choices=[("redacted", "redacted prompt"), ("debug", "redacted prompt and answer")],
                        max_length=10,
                    ),
                ),
                ("content", apps.vault.fields.EncryptedField(help_text="Prompt and answer as JSON.")),
                ("expires_at", models.DateTimeField()),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "db_table": "prompt_logs",
                "permissions": [("read_promptlog", "Can read the text of logged prompts")],
                "indexes": [
                    models.Index(fields=["app_id", "id"], name="prompt_logs_app"),
                    models.Index(fields=["expires_at"], name="prompt_logs_expiry"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["redacted", "debug"])), name="prompt_logs_kind"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("expires_at__gt", models.F("created_at"))), name="prompt_logs_expires_later"
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            f"ALTER TABLE prompt_logs ADD CONSTRAINT prompt_logs_sealed {SEALED}",
            "ALTER TABLE prompt_logs DROP CONSTRAINT prompt_logs_sealed",
        ),
    ]
