from pathlib import Path

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import apps.vault.fields
from apps.core.migration_helpers import epoch_trigger

HERE = Path(__file__).resolve().parent


class Migration(migrations.Migration):
    initial = True

    dependencies = [("core", "0001_policy_epoch"), ("catalog", "0001_catalog"), ("features", "0001_apps")]

    operations = [
        migrations.CreateModel(
            name="AppSecret",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("secret", apps.vault.fields.EncryptedField()),
                ("secret_hash", models.CharField(max_length=64, unique=True)),
                ("hint", models.CharField(help_text="The last four characters of the secret.", max_length=4)),
                ("created_at", models.DateTimeField()),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "app",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="features.app"),
                ),
            ],
            options={
                "db_table": "app_secrets",
            },
        ),
        migrations.CreateModel(
            name="ProviderCredential",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                (
                    "owner_class",
                    models.CharField(
                        choices=[
                            ("platform", "platform"),
                            ("operator", "operator"),
                            ("developer", "developer"),
                            ("end_user", "end user"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "owner_id",
                    models.CharField(blank=True, help_text="Developer or end user; else empty.", max_length=40),
                ),
                ("label", models.CharField(max_length=200)),
                ("secret", apps.vault.fields.EncryptedField()),
                ("hint", models.CharField(help_text="The last four characters of the secret.", max_length=4)),
                ("base_url", models.CharField(blank=True, help_text="Empty: the provider's.", max_length=500)),
                (
                    "models_allowed",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=200),
                        blank=True,
                        default=list,
                        help_text="Empty allows all.",
                        size=None,
                    ),
                ),
                (
                    "weight",
                    models.IntegerField(
                        default=1, help_text="Its part of the calls among credentials of one priority."
                    ),
                ),
                ("priority", models.IntegerField(default=100, help_text="Lower is tried first.")),
                (
                    "status",
                    models.CharField(
                        choices=[("active", "active"), ("disabled", "disabled")], default="active", max_length=16
                    ),
                ),
                ("last_used_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField()),
                (
                    "provider",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="catalog.provider"
                    ),
                ),
                (
                    "replaces",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="vault.providercredential",
                    ),
                ),
            ],
            options={
                "db_table": "provider_credentials",
                "indexes": [models.Index(fields=["owner_class", "owner_id"], name="provider_credentials_owner")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("owner_class__in", ["platform", "operator", "developer", "end_user"])),
                        name="provider_credentials_owner_class",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("owner_class__in", ("platform", "operator")), ("owner_id", "")),
                            models.Q(
                                models.Q(("owner_class__in", ("platform", "operator")), _negated=True),
                                models.Q(("owner_id", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="provider_credentials_owner_id",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("weight__gte", 1), ("weight__lte", 1000)),
                        name="provider_credentials_weight",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["active", "disabled"])), name="provider_credentials_status"
                    ),
                ],
            },
        ),
        migrations.RunSQL((HERE / "0001_vault.sql").read_text(), (HERE / "0001_vault_reverse.sql").read_text()),
        # Not last_used_at: it moves with traffic.
        epoch_trigger(
            "provider_credentials",
            "INSERT OR DELETE OR UPDATE OF status, secret, base_url, models_allowed, weight, priority",
        ),
        epoch_trigger("app_secrets", "UPDATE OF revoked_at OR DELETE"),
    ]
