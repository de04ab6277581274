from pathlib import Path

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

from apps.core.migration_helpers import epoch_trigger, immutable_trigger

HERE = Path(__file__).resolve().parent


class Migration(migrations.Migration):
    initial = True

    dependencies = [("core", "0001_policy_epoch"), ("developers", "0001_developers")]

    operations = [
        migrations.CreateModel(
            name="App",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("public_id", models.CharField(max_length=60, unique=True)),
                ("name", models.CharField(max_length=200)),
                (
                    "status",
                    models.CharField(
                        choices=[("active", "active"), ("disabled", "disabled")], default="active", max_length=16
                    ),
                ),
                (
                    "allowed_origins",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=300), blank=True, default=list, size=None
                    ),
                ),
                (
                    "anonymous_allowance",
                    models.BigIntegerField(
                        default=0, help_text="nano-USD granted to each anonymous device; 0 refuses anonymous sessions."
                    ),
                ),
                ("created_at", models.DateTimeField()),
                (
                    "developer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="developers.developer"
                    ),
                ),
            ],
            options={
                "db_table": "apps",
            },
        ),
        migrations.CreateModel(
            name="EndUser",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("external_hash", models.CharField(max_length=64)),
                ("anonymous", models.BooleanField(default=False)),
                (
                    "status",
                    models.CharField(
                        choices=[("active", "active"), ("disabled", "disabled")], default="active", max_length=16
                    ),
                ),
                ("created_at", models.DateTimeField()),
                (
                    "app",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="features.app"),
                ),
            ],
            options={
                "db_table": "end_users",
            },
        ),
        migrations.CreateModel(
            name="PricingTerms",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "platform_pricing",
                    models.CharField(
                        choices=[("markup", "markup on cost"), ("fixed", "fixed price per request")],
                        default="markup",
                        max_length=16,
                    ),
                ),
                ("markup_bps", models.IntegerField(default=0, help_text="Basis points added to the cost.")),
                ("fixed_price", models.BigIntegerField(default=0, help_text="nano-USD per request.")),
                (
                    "developer_pricing",
                    models.CharField(
                        choices=[
                            ("fee_only", "gateway fee only"),
                            ("markup_share", "markup, shared"),
                            ("own_price", "the developer's own price"),
                        ],
                        default="fee_only",
                        max_length=16,
                    ),
                ),
                ("own_price", models.BigIntegerField(default=0, help_text="nano-USD per request.")),
                (
                    "gateway_fee",
                    models.BigIntegerField(default=0, help_text="nano-USD per request on the developer's key."),
                ),
                (
                    "byok_fee",
                    models.BigIntegerField(default=0, help_text="nano-USD per request on the end user's own key."),
                ),
                ("local_fee", models.BigIntegerField(default=0, help_text="nano-USD per request on a local model.")),
                (
                    "share_bps",
                    models.IntegerField(default=0, help_text="Basis points of the margin that the developer earns."),
                ),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "pricing terms",
                "verbose_name_plural": "pricing terms",
                "db_table": "pricing_terms",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("platform_pricing__in", ["markup", "fixed"])),
                        name="pricing_terms_platform_pricing",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("developer_pricing__in", ["fee_only", "markup_share", "own_price"])),
                        name="pricing_terms_developer_pricing",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("markup_bps__gte", 0), ("markup_bps__lte", 1000000)),
                        name="pricing_terms_markup_bps",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("share_bps__gte", 0), ("share_bps__lte", 10000)),
                        name="pricing_terms_share_bps",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("fixed_price__gte", 0), ("fixed_price__lte", 1000000000000000)),
                        name="pricing_terms_fixed_price",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("own_price__gte", 0), ("own_price__lte", 1000000000000000)),
                        name="pricing_terms_own_price",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("gateway_fee__gte", 0), ("gateway_fee__lte", 1000000000000000)),
                        name="pricing_terms_gateway_fee",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("byok_fee__gte", 0), ("byok_fee__lte", 1000000000000000)),
                        name="pricing_terms_byok_fee",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("local_fee__gte", 0), ("local_fee__lte", 1000000000000000)),
                        name="pricing_terms_local_fee",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AppFeature",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("key", models.SlugField(max_length=64)),
                ("name", models.CharField(max_length=200)),
                (
                    "status",
                    models.CharField(
                        choices=[("active", "active"), ("disabled", "disabled")], default="active", max_length=16
                    ),
                ),
                (
                    "models_allowed",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=200),
                        blank=True,
                        default=list,
                        help_text="Allowed models; empty allows all.",
                        size=None,
                    ),
                ),
                (
                    "default_model",
                    models.CharField(blank=True, help_text="Used when a request names no model.", max_length=200),
                ),
                (
                    "max_output_tokens",
                    models.IntegerField(
                        help_text="Longest answer in tokens: taken when a request names none, and the most it may name."
                    ),
                ),
                (
                    "affordable_clamp",
                    models.BooleanField(
                        default=True, help_text="Shorten the answer to what the balance affords instead of refusing."
                    ),
                ),
                ("created_at", models.DateTimeField()),
                (
                    "app",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="features", to="features.app"
                    ),
                ),
                (
                    "terms",
                    models.ForeignKey(
                        blank=True,
                        help_text="Empty: the app's.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.pricingterms",
                    ),
                ),
            ],
            options={
                "db_table": "app_features",
            },
        ),
        migrations.AddField(
            model_name="app",
            name="terms",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="features.pricingterms"
            ),
        ),
        migrations.CreateModel(
            name="VirtualKey",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("token_hash", models.CharField(max_length=64, unique=True)),
                ("hint", models.CharField(help_text="The last four characters of the key.", max_length=4)),
                ("name", models.CharField(max_length=200)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField()),
                (
                    "app",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="features.app"),
                ),
                (
                    "developer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="developers.developer"
                    ),
                ),
                (
                    "feature",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.appfeature",
                    ),
                ),
            ],
            options={
                "db_table": "virtual_keys",
            },
        ),
        migrations.CreateModel(
            name="VirtualSession",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("token_hash", models.CharField(max_length=64, unique=True)),
                (
                    "assurance",
                    models.CharField(
                        choices=[
                            ("user_token", "user token signed by the app"),
                            ("app_secret", "app secret, server to server"),
                            ("anonymous", "anonymous device"),
                        ],
                        max_length=16,
                    ),
                ),
                ("expires_at", models.DateTimeField()),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField()),
                (
                    "app",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="features.app"),
                ),
                (
                    "end_user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="features.enduser"
                    ),
                ),
                (
                    "feature",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.appfeature",
                    ),
                ),
            ],
            options={
                "db_table": "virtual_sessions",
            },
        ),
        migrations.AddConstraint(
            model_name="enduser",
            constraint=models.UniqueConstraint(fields=("app", "external_hash"), name="end_users_app_external_hash"),
        ),
        migrations.AddConstraint(
            model_name="enduser",
            constraint=models.UniqueConstraint(fields=("app", "id"), name="end_users_app_id"),
        ),
        migrations.AddConstraint(
            model_name="enduser",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["active", "disabled"])), name="end_users_status"
            ),
        ),
        migrations.AddConstraint(
            model_name="appfeature",
            constraint=models.UniqueConstraint(fields=("app", "key"), name="app_features_app_key"),
        ),
        migrations.AddConstraint(
            model_name="appfeature",
            constraint=models.UniqueConstraint(fields=("app", "id"), name="app_features_app_id"),
        ),
        migrations.AddConstraint(
            model_name="appfeature",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["active", "disabled"])), name="app_features_status"
            ),
        ),
        migrations.AddConstraint(
            model_name="appfeature",
            constraint=models.CheckConstraint(
                condition=models.Q(("max_output_tokens__gte", 1), ("max_output_tokens__lte", 10000000)),
                name="app_features_max_output_tokens",
            ),
        ),
        migrations.AddConstraint(
            model_name="app",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["active", "disabled"])), name="apps_status"
            ),
        ),
        migrations.AddConstraint(
            model_name="app",
            constraint=models.CheckConstraint(
                condition=models.Q(("anonymous_allowance__gte", 0), ("anonymous_allowance__lte", 1000000000000000)),
                name="apps_anonymous_allowance",
            ),
        ),
        migrations.AddConstraint(
            model_name="app",
            constraint=models.UniqueConstraint(fields=("developer", "id"), name="apps_developer_id"),
        ),
        migrations.AddConstraint(
            model_name="virtualkey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("expires_at__isnull", True), ("expires_at__gt", models.F("created_at")), _connector="OR"
                ),
                name="virtual_keys_expires_at",
            ),
        ),
        migrations.AddConstraint(
            model_name="virtualsession",
            constraint=models.CheckConstraint(
                condition=models.Q(("assurance__in", ["user_token", "app_secret", "anonymous"])),
                name="virtual_sessions_assurance",
            ),
        ),
        migrations.AddConstraint(
            model_name="virtualsession",
            constraint=models.CheckConstraint(
                condition=models.Q(("expires_at__gt", models.F("created_at"))), name="virtual_sessions_expires_at"
            ),
        ),
        migrations.RunSQL((HERE / "0001_apps.sql").read_text(), (HERE / "0001_apps_reverse.sql").read_text()),
        immutable_trigger("pricing_terms"),
        epoch_trigger("apps", "INSERT OR UPDATE OR DELETE"),
        epoch_trigger("app_features", "INSERT OR UPDATE OR DELETE"),
        # New end users, sessions and keys are unknown to every snapshot: only what takes something away moves it.
        epoch_trigger("end_users", "UPDATE OF status OR DELETE"),
        epoch_trigger("virtual_sessions", "UPDATE OF revoked_at, expires_at OR DELETE"),
        epoch_trigger("virtual_keys", "UPDATE OF revoked_at, expires_at OR DELETE"),
    ]
