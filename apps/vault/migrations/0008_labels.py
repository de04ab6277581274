"""What tables and columns are called in the admin: no table changes."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import apps.vault.fields


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0005_labels"),
        ("features", "0008_labels"),
        ("vault", "0007_credential_health"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterModelOptions(
                    name="appsecret",
                    options={"verbose_name": "app secret", "verbose_name_plural": "app secrets"},
                ),
                migrations.AlterModelOptions(
                    name="credentialhealth",
                    options={"verbose_name": "credential health", "verbose_name_plural": "credential healths"},
                ),
                migrations.AlterModelOptions(
                    name="feeconsent",
                    options={"verbose_name": "fee consent", "verbose_name_plural": "fee consents"},
                ),
                migrations.AlterModelOptions(
                    name="providercredential",
                    options={"verbose_name": "provider credential", "verbose_name_plural": "provider credentials"},
                ),
                migrations.AlterField(
                    model_name="appsecret",
                    name="app",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.app",
                        verbose_name="app",
                    ),
                ),
                migrations.AlterField(
                    model_name="appsecret",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="appsecret",
                    name="hint",
                    field=models.CharField(
                        help_text="The last four characters of the secret.", max_length=4, verbose_name="hint"
                    ),
                ),
                migrations.AlterField(
                    model_name="appsecret",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="appsecret",
                    name="revoked_at",
                    field=models.DateTimeField(blank=True, null=True, verbose_name="revoked at"),
                ),
                migrations.AlterField(
                    model_name="appsecret",
                    name="secret",
                    field=apps.vault.fields.EncryptedField(verbose_name="secret"),
                ),
                migrations.AlterField(
                    model_name="appsecret",
                    name="secret_hash",
                    field=models.CharField(max_length=64, unique=True, verbose_name="secret hash"),
                ),
                migrations.AlterField(
                    model_name="credentialhealth",
                    name="changed_at",
                    field=models.DateTimeField(help_text="When it went down or came back.", verbose_name="changed at"),
                ),
                migrations.AlterField(
                    model_name="credentialhealth",
                    name="checked_at",
                    field=models.DateTimeField(verbose_name="checked at"),
                ),
                migrations.AlterField(
                    model_name="credentialhealth",
                    name="consecutive_failures",
                    field=models.PositiveIntegerField(default=0, verbose_name="consecutive failures"),
                ),
                migrations.AlterField(
                    model_name="credentialhealth",
                    name="credential",
                    field=models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="health",
                        serialize=False,
                        to="vault.providercredential",
                        verbose_name="credential",
                    ),
                ),
                migrations.AlterField(
                    model_name="credentialhealth",
                    name="down",
                    field=models.BooleanField(default=False, verbose_name="down"),
                ),
                migrations.AlterField(
                    model_name="credentialhealth",
                    name="http_status",
                    field=models.PositiveSmallIntegerField(blank=True, null=True, verbose_name="http status"),
                ),
                migrations.AlterField(
                    model_name="credentialhealth",
                    name="latency_ms",
                    field=models.PositiveIntegerField(blank=True, null=True, verbose_name="latency ms"),
                ),
                migrations.AlterField(
                    model_name="credentialhealth",
                    name="result",
                    field=models.CharField(
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
                        verbose_name="result",
                    ),
                ),
                migrations.AlterField(
                    model_name="feeconsent",
                    name="acknowledged_at",
                    field=models.DateTimeField(verbose_name="acknowledged at"),
                ),
                migrations.AlterField(
                    model_name="feeconsent",
                    name="app_id",
                    field=models.CharField(max_length=40, verbose_name="app id"),
                ),
                migrations.AlterField(
                    model_name="feeconsent",
                    name="end_user_id",
                    field=models.CharField(max_length=40, verbose_name="end user id"),
                ),
                migrations.AlterField(
                    model_name="feeconsent",
                    name="fee_nano",
                    field=models.BigIntegerField(help_text="nano-USD per answered request.", verbose_name="fee nano"),
                ),
                migrations.AlterField(
                    model_name="feeconsent",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="feeconsent",
                    name="mode",
                    field=models.CharField(
                        choices=[("byok", "own key"), ("local", "local model")], max_length=8, verbose_name="mode"
                    ),
                ),
                migrations.AlterField(
                    model_name="feeconsent",
                    name="text",
                    field=models.TextField(help_text="What was shown.", verbose_name="text"),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="apps_allowed",
                    field=django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=40),
                        blank=True,
                        default=list,
                        help_text="Ids of apps. Empty allows all.",
                        size=None,
                        verbose_name="apps allowed",
                    ),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="base_url",
                    field=models.CharField(
                        blank=True, help_text="Empty: the provider's.", max_length=500, verbose_name="base url"
                    ),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="failing_since",
                    field=models.DateTimeField(
                        blank=True,
                        help_text="First of the calls in a row that the provider refused for this key.",
                        null=True,
                        verbose_name="failing since",
                    ),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="features_allowed",
                    field=django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64),
                        blank=True,
                        default=list,
                        help_text="Keys of features. Empty allows all.",
                        size=None,
                        verbose_name="features allowed",
                    ),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="hint",
                    field=models.CharField(
                        help_text="The last four characters of the secret.", max_length=4, verbose_name="hint"
                    ),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="label",
                    field=models.CharField(max_length=200, verbose_name="label"),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="last_used_at",
                    field=models.DateTimeField(blank=True, null=True, verbose_name="last used at"),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="models_allowed",
                    field=django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=200),
                        blank=True,
                        default=list,
                        help_text="Empty allows all.",
                        size=None,
                        verbose_name="models allowed",
                    ),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="owner_class",
                    field=models.CharField(
                        choices=[
                            ("platform", "platform"),
                            ("operator", "operator"),
                            ("developer", "developer"),
                            ("end_user", "end user"),
                        ],
                        max_length=16,
                        verbose_name="owner class",
                    ),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="owner_id",
                    field=models.CharField(
                        blank=True,
                        help_text="Developer or end user; else empty.",
                        max_length=40,
                        verbose_name="owner id",
                    ),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="priority",
                    field=models.IntegerField(default=100, help_text="Lower is tried first.", verbose_name="priority"),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="provider",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="catalog.provider",
                        verbose_name="provider",
                    ),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="replaces",
                    field=models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="vault.providercredential",
                        verbose_name="replaces",
                    ),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="secret",
                    field=apps.vault.fields.EncryptedField(verbose_name="secret"),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="status",
                    field=models.CharField(
                        choices=[("active", "active"), ("disabled", "disabled"), ("deleted", "deleted")],
                        default="active",
                        max_length=16,
                        verbose_name="status",
                    ),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="validated_at",
                    field=models.DateTimeField(blank=True, null=True, verbose_name="validated at"),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="validation",
                    field=models.CharField(
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
                        default="never",
                        max_length=16,
                        verbose_name="validation",
                    ),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="validation_ms",
                    field=models.PositiveIntegerField(
                        blank=True, help_text="Milliseconds the answer took.", null=True, verbose_name="validation ms"
                    ),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="validation_status",
                    field=models.PositiveSmallIntegerField(
                        blank=True, help_text="The answer's HTTP status.", null=True, verbose_name="validation status"
                    ),
                ),
                migrations.AlterField(
                    model_name="providercredential",
                    name="weight",
                    field=models.IntegerField(
                        default=1,
                        help_text="Its part of the calls among credentials of one priority.",
                        verbose_name="weight",
                    ),
                ),
            ]
        )
    ]
