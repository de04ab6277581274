from django.db import migrations, models

from apps.core.migration_helpers import immutable_trigger


class Migration(migrations.Migration):
    dependencies = [
        ("vault", "0004_erased_secrets"),
    ]

    operations = [
        migrations.CreateModel(
            name="FeeConsent",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("end_user_id", models.CharField(max_length=40)),
                ("app_id", models.CharField(max_length=40)),
                ("mode", models.CharField(choices=[("byok", "own key"), ("local", "local model")], max_length=8)),
                ("fee_nano", models.BigIntegerField(help_text="nano-USD per answered request.")),
                ("text", models.TextField(help_text="What was shown.")),
                ("acknowledged_at", models.DateTimeField()),
            ],
            options={
                "db_table": "fee_consents",
                "indexes": [models.Index(fields=["end_user_id", "mode", "-fee_nano"], name="fee_consents_end_user")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("mode__in", ["byok", "local"])), name="fee_consents_mode"
                    ),
                    models.CheckConstraint(condition=models.Q(("fee_nano__gte", 0)), name="fee_consents_fee"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("end_user_id", ""), _negated=True), models.Q(("text", ""), _negated=True)
                        ),
                        name="fee_consents_not_blank",
                    ),
                ],
            },
        ),
        immutable_trigger("fee_consents"),
    ]
