import django.db.models.deletion
from django.db import migrations, models

from apps.core.migration_helpers import epoch_trigger


class Migration(migrations.Migration):
    """Keep what the regular checks of shared keys come to."""

    dependencies = [
        ("vault", "0006_forget_owners"),
    ]

    operations = [
        migrations.CreateModel(
            name="CredentialHealth",
            fields=[
                (
                    "credential",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="health",
                        serialize=False,
                        to="vault.providercredential",
                    ),
                ),
                ("down", models.BooleanField(default=False)),
                ("consecutive_failures", models.PositiveIntegerField(default=0)),
                (
                    "result",
                    models.CharField(
                        choices=[
                            ("never", "not checked yet"),
                            ("ok", "works"),
                            ("auth_failed", "refused by the provider"),
                            ("restricted", "known, but may not list models"),
                            ("not_supported", "cannot be checked for free"),
                            ("unreachable", "provider out of reach"),
                            ("refused_address", "address not allowed"),
                            ("unclear", "unclear answer"),
                        ],
                        max_length=16,
                    ),
                ),
                ("http_status", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("latency_ms", models.PositiveIntegerField(blank=True, null=True)),
                ("checked_at", models.DateTimeField()),
                ("changed_at", models.DateTimeField(help_text="When it went down or came back.")),
            ],
            options={
                "db_table": "credential_health",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "result__in",
                                [
                                    "never",
                                    "ok",
                                    "auth_failed",
                                    "restricted",
                                    "not_supported",
                                    "unreachable",
                                    "refused_address",
                                    "unclear",
                                ],
                            )
                        ),
                        name="credential_health_result",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("down", False), ("consecutive_failures__gt", 0), _connector="OR"),
                        name="credential_health_down",
                    ),
                ],
            },
        ),
        # Not the checks themselves, which come all the time: only that a key goes down or comes back.
        epoch_trigger("credential_health", "UPDATE OF down"),
    ]
