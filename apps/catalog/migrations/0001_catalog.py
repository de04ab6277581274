from pathlib import Path

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

from apps.core.migration_helpers import epoch_trigger, immutable_trigger

SQL = Path(__file__).with_suffix(".sql").read_text()


class Migration(migrations.Migration):
    initial = True

    dependencies = [("core", "0001_policy_epoch")]

    operations = [
        migrations.CreateModel(
            name="Model",
            fields=[
                ("id", models.CharField(max_length=200, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=200)),
                ("family", models.CharField(blank=True, max_length=100)),
                ("created_at", models.DateTimeField()),
                ("created_by", models.CharField(max_length=100)),
            ],
            options={
                "db_table": "models",
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", ""), _negated=True), name="models_not_blank")
                ],
            },
        ),
        migrations.CreateModel(
            name="ModelOffer",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("upstream_model", models.CharField(max_length=200)),
                (
                    "status",
                    models.CharField(
                        choices=[("active", "active"), ("disabled", "disabled")], default="active", max_length=10
                    ),
                ),
                (
                    "context_window",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Tokens; empty: unknown.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "max_output_tokens",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Tokens; empty: unknown.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "capabilities",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("chat", "chat"),
                                ("stream", "streaming"),
                                ("tools", "tools"),
                                ("vision", "images in"),
                                ("audio", "audio in"),
                                ("json", "structured output"),
                                ("reasoning", "reasoning"),
                                ("embeddings", "embeddings"),
                            ],
                            max_length=20,
                        ),
                        blank=True,
                        default=list,
                        size=None,
                    ),
                ),
                (
                    "tokenizer",
                    models.CharField(
                        choices=[("o200k_base", "O200K Base"), ("cl100k_base", "Cl100K Base"), ("unknown", "unknown")],
                        default="unknown",
                        max_length=20,
                    ),
                ),
                (
                    "quality",
                    models.SmallIntegerField(
                        blank=True,
                        help_text="0 to 1000; empty: not judged.",
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(1000),
                        ],
                    ),
                ),
                ("priority", models.IntegerField(default=100, help_text="The lowest number is tried first.")),
                ("created_at", models.DateTimeField()),
                ("created_by", models.CharField(max_length=100)),
                ("changed_at", models.DateTimeField()),
                ("changed_by", models.CharField(max_length=100)),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="offers", to="catalog.model"
                    ),
                ),
            ],
            options={
                "db_table": "model_offers",
            },
        ),
        migrations.CreateModel(
            name="PriceImport",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("source", models.CharField(max_length=100)),
                ("source_version", models.CharField(max_length=40)),
                ("state", models.CharField(choices=[("accepted", "accepted"), ("refused", "refused")], max_length=10)),
                ("reason", models.TextField(blank=True)),
                (
                    "priced_models",
                    models.JSONField(help_text="Priced models in the source for each of its providers."),
                ),
                ("proposals_made", models.PositiveIntegerField(default=0)),
                ("created_at", models.DateTimeField()),
                ("created_by", models.CharField(max_length=100)),
            ],
            options={
                "db_table": "price_imports",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["accepted", "refused"])), name="price_imports_state"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="PriceVersion",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("valid_from", models.DateTimeField()),
                ("source", models.CharField(max_length=100)),
                ("created_at", models.DateTimeField()),
                ("created_by", models.CharField(max_length=100)),
                (
                    "offer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="price_versions",
                        to="catalog.modeloffer",
                    ),
                ),
            ],
            options={
                "db_table": "price_versions",
            },
        ),
        migrations.CreateModel(
            name="PriceTier",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("from_tokens", models.PositiveIntegerField()),
                ("input", models.BigIntegerField()),
                ("cache_read", models.BigIntegerField()),
                ("cache_write", models.BigIntegerField()),
                ("output", models.BigIntegerField()),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="tiers", to="catalog.priceversion"
                    ),
                ),
            ],
            options={
                "db_table": "price_tiers",
            },
        ),
        migrations.CreateModel(
            name="Provider",
            fields=[
                ("id", models.SlugField(max_length=40, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=100)),
                ("adapter", models.CharField(choices=[("openai_compatible", "OpenAI-compatible")], max_length=40)),
                (
                    "base_url",
                    models.CharField(help_text="Address before /chat/completions, version included.", max_length=500),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("active", "active"), ("disabled", "disabled")], default="active", max_length=10
                    ),
                ),
                (
                    "resale_allowed",
                    models.BooleanField(help_text="The terms allow serving paying third parties with our key."),
                ),
                ("trains_on_data", models.BooleanField(help_text="The provider may train on what is sent to it.")),
                ("terms_url", models.URLField(blank=True, max_length=500)),
                ("notes", models.TextField(blank=True)),
                ("created_at", models.DateTimeField()),
                ("created_by", models.CharField(max_length=100)),
                ("changed_at", models.DateTimeField()),
                ("changed_by", models.CharField(max_length=100)),
            ],
            options={
                "db_table": "providers",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["active", "disabled"])), name="providers_status"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("adapter__in", ["openai_compatible"])), name="providers_adapter"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("id", ""), _negated=True), models.Q(("base_url", ""), _negated=True)
                        ),
                        name="providers_not_blank",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PriceProposal",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("source", models.CharField(max_length=100)),
                ("upstream_model", models.CharField(max_length=200)),
                ("valid_from", models.DateTimeField(blank=True, help_text="Empty: from the approval on.", null=True)),
                ("current", models.JSONField(blank=True, null=True)),
                ("proposed", models.JSONField()),
                (
                    "notes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), blank=True, default=list, size=None
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("approved", "approved"),
                            ("rejected", "rejected"),
                            ("superseded", "superseded"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("created_by", models.CharField(max_length=100)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, max_length=100)),
                ("reason", models.TextField(blank=True)),
                (
                    "offer",
                    models.ForeignKey(
                        blank=True,
                        help_text="Empty: not offered yet; approval makes a disabled offer to be reviewed.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="proposals",
                        to="catalog.modeloffer",
                    ),
                ),
                (
                    "price_version",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="proposal",
                        to="catalog.priceversion",
                    ),
                ),
                (
                    "provider",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="proposals", to="catalog.provider"
                    ),
                ),
            ],
            options={
                "db_table": "price_proposals",
            },
        ),
        migrations.AddField(
            model_name="modeloffer",
            name="provider",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="offers", to="catalog.provider"
            ),
        ),
        migrations.AddConstraint(
            model_name="priceversion",
            constraint=models.UniqueConstraint(fields=("offer", "valid_from"), name="price_versions_one_at_a_time"),
        ),
        migrations.AddConstraint(
            model_name="pricetier",
            constraint=models.UniqueConstraint(fields=("version", "from_tokens"), name="price_tiers_once"),
        ),
        migrations.AddConstraint(
            model_name="pricetier",
            constraint=models.CheckConstraint(
                condition=models.Q(("input__range", (0, 1000000000000000))), name="price_tiers_input"
            ),
        ),
        migrations.AddConstraint(
            model_name="pricetier",
            constraint=models.CheckConstraint(
                condition=models.Q(("cache_read__range", (0, 1000000000000000))), name="price_tiers_cache_read"
            ),
        ),
        migrations.AddConstraint(
            model_name="pricetier",
            constraint=models.CheckConstraint(
                condition=models.Q(("cache_write__range", (0, 1000000000000000))), name="price_tiers_cache_write"
            ),
        ),
        migrations.AddConstraint(
            model_name="pricetier",
            constraint=models.CheckConstraint(
                condition=models.Q(("output__range", (0, 1000000000000000))), name="price_tiers_output"
            ),
        ),
        migrations.AddIndex(
            model_name="priceproposal",
            index=models.Index(fields=["state", "provider"], name="price_proposals_by_state"),
        ),
        migrations.AddConstraint(
            model_name="priceproposal",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "pending")),
                fields=("provider", "upstream_model", "offer", "valid_from"),
                name="price_proposals_one_pending",
                nulls_distinct=False,
            ),
        ),
        migrations.AddConstraint(
            model_name="priceproposal",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["pending", "approved", "rejected", "superseded"])),
                name="price_proposals_state",
            ),
        ),
        migrations.AddConstraint(
            model_name="priceproposal",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_at", None), ("state", "pending")),
                    models.Q(
                        models.Q(("state", "pending"), _negated=True), models.Q(("decided_at", None), _negated=True)
                    ),
                    _connector="OR",
                ),
                name="price_proposals_decided",
            ),
        ),
        migrations.AddConstraint(
            model_name="priceproposal",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("price_version__isnull", False), ("state", "approved")),
                    models.Q(models.Q(("state", "approved"), _negated=True), ("price_version", None)),
                    _connector="OR",
                ),
                name="price_proposals_approved_has_version",
            ),
        ),
        migrations.AddConstraint(
            model_name="modeloffer",
            constraint=models.UniqueConstraint(
                fields=("provider", "upstream_model", "model"), name="model_offers_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="modeloffer",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["active", "disabled"])), name="model_offers_status"
            ),
        ),
        migrations.AddConstraint(
            model_name="modeloffer",
            constraint=models.CheckConstraint(
                condition=models.Q(("tokenizer__in", ["o200k_base", "cl100k_base", "unknown"])),
                name="model_offers_tokenizer",
            ),
        ),
        migrations.AddConstraint(
            model_name="modeloffer",
            constraint=models.CheckConstraint(
                condition=models.Q(("quality", None), ("quality__range", (0, 1000)), _connector="OR"),
                name="model_offers_quality",
            ),
        ),
        migrations.AddConstraint(
            model_name="modeloffer",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("context_window", None), ("context_window__gt", 0), _connector="OR"),
                    models.Q(("max_output_tokens", None), ("max_output_tokens__gt", 0), _connector="OR"),
                ),
                name="model_offers_positive_limits",
            ),
        ),
        migrations.AddConstraint(
            model_name="modeloffer",
            constraint=models.CheckConstraint(
                condition=models.Q(("upstream_model", ""), _negated=True), name="model_offers_not_blank"
            ),
        ),
        migrations.RunSQL(
            SQL,
            "DROP TRIGGER price_versions_complete ON price_versions;"
            "DROP TRIGGER price_tiers_no_late_tier ON price_tiers;"
            "DROP FUNCTION catalog_price_version_complete();"
            "DROP FUNCTION catalog_no_late_tier();",
        ),
        immutable_trigger("price_versions"),
        immutable_trigger("price_tiers"),
        epoch_trigger("providers", "INSERT OR UPDATE OR DELETE"),
        epoch_trigger("models", "INSERT OR UPDATE OR DELETE"),
        epoch_trigger("model_offers", "INSERT OR UPDATE OR DELETE"),
        epoch_trigger("price_versions", "INSERT OR UPDATE OR DELETE"),
        epoch_trigger("price_tiers", "INSERT OR UPDATE OR DELETE"),
    ]
