"""What tables and columns are called in the admin: no table changes."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("developers", "0010_labels"),
        ("features", "0007_app_suspension"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterModelOptions(
                    name="app",
                    options={"verbose_name": "app", "verbose_name_plural": "apps"},
                ),
                migrations.AlterModelOptions(
                    name="appfeature",
                    options={"verbose_name": "app feature", "verbose_name_plural": "app features"},
                ),
                migrations.AlterModelOptions(
                    name="enduser",
                    options={"verbose_name": "end user", "verbose_name_plural": "end users"},
                ),
                migrations.AlterModelOptions(
                    name="featuremanifest",
                    options={"verbose_name": "feature manifest", "verbose_name_plural": "feature manifests"},
                ),
                migrations.AlterModelOptions(
                    name="virtualkey",
                    options={"verbose_name": "virtual key", "verbose_name_plural": "virtual keys"},
                ),
                migrations.AlterModelOptions(
                    name="virtualsession",
                    options={"verbose_name": "virtual session", "verbose_name_plural": "virtual sessions"},
                ),
                migrations.AlterField(
                    model_name="app",
                    name="allowed_origins",
                    field=django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=300),
                        blank=True,
                        default=list,
                        size=None,
                        verbose_name="allowed origins",
                    ),
                ),
                migrations.AlterField(
                    model_name="app",
                    name="anonymous_allowance",
                    field=models.BigIntegerField(
                        default=0,
                        help_text="nano-USD granted to each anonymous device; 0 refuses anonymous sessions.",
                        verbose_name="anonymous allowance",
                    ),
                ),
                migrations.AlterField(
                    model_name="app",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="app",
                    name="developer",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="developers.developer",
                        verbose_name="developer",
                    ),
                ),
                migrations.AlterField(
                    model_name="app",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="app",
                    name="name",
                    field=models.CharField(max_length=200, verbose_name="name"),
                ),
                migrations.AlterField(
                    model_name="app",
                    name="public_id",
                    field=models.CharField(max_length=60, unique=True, verbose_name="public id"),
                ),
                migrations.AlterField(
                    model_name="app",
                    name="status",
                    field=models.CharField(
                        choices=[("active", "active"), ("disabled", "disabled")],
                        default="active",
                        max_length=16,
                        verbose_name="status",
                    ),
                ),
                migrations.AlterField(
                    model_name="app",
                    name="suspended",
                    field=models.BooleanField(
                        default=False,
                        help_text="The operator switched it off: its developer cannot switch it on again.",
                        verbose_name="suspended",
                    ),
                ),
                migrations.AlterField(
                    model_name="app",
                    name="terms",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.pricingterms",
                        verbose_name="terms",
                    ),
                ),
                migrations.AlterField(
                    model_name="appfeature",
                    name="affordable_clamp",
                    field=models.BooleanField(
                        default=True,
                        help_text="Shorten the answer to what the balance affords instead of refusing.",
                        verbose_name="affordable clamp",
                    ),
                ),
                migrations.AlterField(
                    model_name="appfeature",
                    name="app",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="features",
                        to="features.app",
                        verbose_name="app",
                    ),
                ),
                migrations.AlterField(
                    model_name="appfeature",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="appfeature",
                    name="default_model",
                    field=models.CharField(
                        blank=True,
                        help_text="Used when a request names no model.",
                        max_length=200,
                        verbose_name="default model",
                    ),
                ),
                migrations.AlterField(
                    model_name="appfeature",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="appfeature",
                    name="key",
                    field=models.SlugField(max_length=64, verbose_name="key"),
                ),
                migrations.AlterField(
                    model_name="appfeature",
                    name="manifest",
                    field=models.ForeignKey(
                        blank=True,
                        help_text="The version in force; empty: every default.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.featuremanifest",
                        verbose_name="manifest",
                    ),
                ),
                migrations.AlterField(
                    model_name="appfeature",
                    name="max_output_tokens",
                    field=models.IntegerField(
                        help_text="Longest answer in tokens: taken when a request names none, and the most it may name.",
                        verbose_name="max output tokens",
                    ),
                ),
                migrations.AlterField(
                    model_name="appfeature",
                    name="models_allowed",
                    field=django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=200),
                        blank=True,
                        default=list,
                        help_text="Allowed models; empty allows all.",
                        size=None,
                        verbose_name="models allowed",
                    ),
                ),
                migrations.AlterField(
                    model_name="appfeature",
                    name="name",
                    field=models.CharField(max_length=200, verbose_name="name"),
                ),
                migrations.AlterField(
                    model_name="appfeature",
                    name="status",
                    field=models.CharField(
                        choices=[("active", "active"), ("disabled", "disabled")],
                        default="active",
                        max_length=16,
                        verbose_name="status",
                    ),
                ),
                migrations.AlterField(
                    model_name="appfeature",
                    name="terms",
                    field=models.ForeignKey(
                        blank=True,
                        help_text="Empty: the app's.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.pricingterms",
                        verbose_name="terms",
                    ),
                ),
                migrations.AlterField(
                    model_name="enduser",
                    name="anonymous",
                    field=models.BooleanField(default=False, verbose_name="anonymous"),
                ),
                migrations.AlterField(
                    model_name="enduser",
                    name="app",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.app",
                        verbose_name="app",
                    ),
                ),
                migrations.AlterField(
                    model_name="enduser",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="enduser",
                    name="external_hash",
                    field=models.CharField(max_length=64, verbose_name="external hash"),
                ),
                migrations.AlterField(
                    model_name="enduser",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="enduser",
                    name="status",
                    field=models.CharField(
                        choices=[("active", "active"), ("disabled", "disabled")],
                        default="active",
                        max_length=16,
                        verbose_name="status",
                    ),
                ),
                migrations.AlterField(
                    model_name="featuremanifest",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="featuremanifest",
                    name="created_by",
                    field=models.CharField(max_length=100, verbose_name="created by"),
                ),
                migrations.AlterField(
                    model_name="featuremanifest",
                    name="feature",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.appfeature",
                        verbose_name="feature",
                    ),
                ),
                migrations.AlterField(
                    model_name="featuremanifest",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="featuremanifest",
                    name="manifest",
                    field=models.JSONField(help_text="As read: only what is not a default.", verbose_name="manifest"),
                ),
                migrations.AlterField(
                    model_name="featuremanifest",
                    name="number",
                    field=models.IntegerField(help_text="1 is the feature's first.", verbose_name="number"),
                ),
                migrations.AlterField(
                    model_name="featuremanifest",
                    name="source",
                    field=models.TextField(help_text="As written.", verbose_name="source"),
                ),
                migrations.AlterField(
                    model_name="featuremanifest",
                    name="source_format",
                    field=models.CharField(
                        choices=[("yaml", "YAML"), ("json", "JSON")], max_length=8, verbose_name="source format"
                    ),
                ),
                migrations.AlterField(
                    model_name="pricingterms",
                    name="byok_fee",
                    field=models.BigIntegerField(
                        default=0, help_text="nano-USD per request on the end user's own key.", verbose_name="byok fee"
                    ),
                ),
                migrations.AlterField(
                    model_name="pricingterms",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="pricingterms",
                    name="developer_pricing",
                    field=models.CharField(
                        choices=[
                            ("fee_only", "gateway fee only"),
                            ("markup_share", "markup, shared"),
                            ("own_price", "the developer's own price"),
                        ],
                        default="fee_only",
                        max_length=16,
                        verbose_name="developer pricing",
                    ),
                ),
                migrations.AlterField(
                    model_name="pricingterms",
                    name="fixed_price",
                    field=models.BigIntegerField(
                        default=0, help_text="nano-USD per request.", verbose_name="fixed price"
                    ),
                ),
                migrations.AlterField(
                    model_name="pricingterms",
                    name="gateway_fee",
                    field=models.BigIntegerField(
                        default=0, help_text="nano-USD per request on the developer's key.", verbose_name="gateway fee"
                    ),
                ),
                migrations.AlterField(
                    model_name="pricingterms",
                    name="local_fee",
                    field=models.BigIntegerField(
                        default=0, help_text="nano-USD per request on a local model.", verbose_name="local fee"
                    ),
                ),
                migrations.AlterField(
                    model_name="pricingterms",
                    name="markup_bps",
                    field=models.IntegerField(
                        default=0, help_text="Basis points added to the cost.", verbose_name="markup bps"
                    ),
                ),
                migrations.AlterField(
                    model_name="pricingterms",
                    name="own_price",
                    field=models.BigIntegerField(
                        default=0, help_text="nano-USD per request.", verbose_name="own price"
                    ),
                ),
                migrations.AlterField(
                    model_name="pricingterms",
                    name="platform_pricing",
                    field=models.CharField(
                        choices=[("markup", "markup on cost"), ("fixed", "fixed price per request")],
                        default="markup",
                        max_length=16,
                        verbose_name="platform pricing",
                    ),
                ),
                migrations.AlterField(
                    model_name="pricingterms",
                    name="share_bps",
                    field=models.IntegerField(
                        default=0,
                        help_text="Basis points of the margin that the developer earns.",
                        verbose_name="share bps",
                    ),
                ),
                migrations.AlterField(
                    model_name="virtualkey",
                    name="app",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.app",
                        verbose_name="app",
                    ),
                ),
                migrations.AlterField(
                    model_name="virtualkey",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="virtualkey",
                    name="developer",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="developers.developer",
                        verbose_name="developer",
                    ),
                ),
                migrations.AlterField(
                    model_name="virtualkey",
                    name="expires_at",
                    field=models.DateTimeField(blank=True, null=True, verbose_name="expires at"),
                ),
                migrations.AlterField(
                    model_name="virtualkey",
                    name="feature",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.appfeature",
                        verbose_name="feature",
                    ),
                ),
                migrations.AlterField(
                    model_name="virtualkey",
                    name="hint",
                    field=models.CharField(
                        help_text="The last four characters of the key.", max_length=4, verbose_name="hint"
                    ),
                ),
                migrations.AlterField(
                    model_name="virtualkey",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="virtualkey",
                    name="name",
                    field=models.CharField(max_length=200, verbose_name="name"),
                ),
                migrations.AlterField(
                    model_name="virtualkey",
                    name="revoked_at",
                    field=models.DateTimeField(blank=True, null=True, verbose_name="revoked at"),
                ),
                migrations.AlterField(
                    model_name="virtualkey",
                    name="token_hash",
                    field=models.CharField(max_length=64, unique=True, verbose_name="token hash"),
                ),
                migrations.AlterField(
                    model_name="virtualsession",
                    name="app",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.app",
                        verbose_name="app",
                    ),
                ),
                migrations.AlterField(
                    model_name="virtualsession",
                    name="assurance",
                    field=models.CharField(
                        choices=[
                            ("user_token", "user token signed by the app"),
                            ("app_secret", "app secret, server to server"),
                            ("anonymous", "anonymous device"),
                        ],
                        max_length=16,
                        verbose_name="assurance",
                    ),
                ),
                migrations.AlterField(
                    model_name="virtualsession",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="virtualsession",
                    name="end_user",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.enduser",
                        verbose_name="end user",
                    ),
                ),
                migrations.AlterField(
                    model_name="virtualsession",
                    name="expires_at",
                    field=models.DateTimeField(verbose_name="expires at"),
                ),
                migrations.AlterField(
                    model_name="virtualsession",
                    name="feature",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.appfeature",
                        verbose_name="feature",
                    ),
                ),
                migrations.AlterField(
                    model_name="virtualsession",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="virtualsession",
                    name="revoked_at",
                    field=models.DateTimeField(blank=True, null=True, verbose_name="revoked at"),
                ),
                migrations.AlterField(
                    model_name="virtualsession",
                    name="token_hash",
                    field=models.CharField(max_length=64, unique=True, verbose_name="token hash"),
                ),
            ]
        )
    ]
