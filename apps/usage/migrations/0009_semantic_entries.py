from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("usage", "0008_prompt_logs")]
    operations = [
        migrations.CreateModel(
            name="SemanticEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("app_id", models.CharField(max_length=40)),
                ("feature_key", models.CharField(max_length=64)),
                (
                    "context_hash",
                    models.CharField(
                        max_length=64,
                        help_text="Of all that must be equal: only the last message may be merely similar.",
                    ),
                ),
                (
                    "model",
                    models.CharField(max_length=200, help_text="What made the vector; only its own are compared."),
                ),
                ("vector", models.BinaryField(help_text="Little-endian 32-bit floats of length 1.")),
                (
                    "answer_key",
                    models.CharField(max_length=64, help_text="Where the answer is kept, for as long as it is."),
                ),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "db_table": "semantic_entries",
                "verbose_name_plural": "semantic entries",
                "indexes": [
                    models.Index(fields=["context_hash", "-id"], name="semantic_entries_context"),
                    models.Index(fields=["app_id"], name="semantic_entries_app"),
                    models.Index(fields=["expires_at"], name="semantic_entries_expiry"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(expires_at__gt=models.F("created_at")),
                        name="semantic_entries_expires_later",
                    ),
                ],
            },
        ),
    ]
