"""What tables and columns are called in the admin: no table changes."""

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

import apps.catalog.models


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0004_keeps_cache_control"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterModelOptions(
                    name="model",
                    options={"verbose_name": "model", "verbose_name_plural": "models"},
                ),
                migrations.AlterModelOptions(
                    name="modeloffer",
                    options={"verbose_name": "model offer", "verbose_name_plural": "model offers"},
                ),
                migrations.AlterModelOptions(
                    name="priceimport",
                    options={"verbose_name": "price import", "verbose_name_plural": "price imports"},
                ),
                migrations.AlterModelOptions(
                    name="priceproposal",
                    options={"verbose_name": "price proposal", "verbose_name_plural": "price proposals"},
                ),
                migrations.AlterModelOptions(
                    name="pricetier",
                    options={"verbose_name": "price tier", "verbose_name_plural": "price tiers"},
                ),
                migrations.AlterModelOptions(
                    name="priceversion",
                    options={"verbose_name": "price version", "verbose_name_plural": "price versions"},
                ),
                migrations.AlterModelOptions(
                    name="provider",
                    options={"verbose_name": "provider", "verbose_name_plural": "providers"},
                ),
                migrations.AlterField(
                    model_name="model",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="model",
                    name="created_by",
                    field=models.CharField(max_length=100, verbose_name="created by"),
                ),
                migrations.AlterField(
                    model_name="model",
                    name="family",
                    field=models.CharField(blank=True, max_length=100, verbose_name="family"),
                ),
                migrations.AlterField(
                    model_name="model",
                    name="id",
                    field=models.CharField(max_length=200, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="model",
                    name="name",
                    field=models.CharField(max_length=200, verbose_name="name"),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="capabilities",
                    field=django.contrib.postgres.fields.ArrayField(
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
                                ("max_completion_tokens", "output limit as max_completion_tokens"),
                            ],
                            max_length=40,
                        ),
                        blank=True,
                        default=list,
                        size=None,
                        verbose_name="capabilities",
                    ),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="changed_at",
                    field=models.DateTimeField(verbose_name="changed at"),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="changed_by",
                    field=models.CharField(max_length=100, verbose_name="changed by"),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="context_window",
                    field=models.PositiveIntegerField(
                        blank=True,
                        help_text="Tokens; empty: unknown.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="context window",
                    ),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="created_by",
                    field=models.CharField(max_length=100, verbose_name="created by"),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="image_tokens",
                    field=models.PositiveIntegerField(
                        default=1600,
                        help_text="The most tokens that the provider counts for one image.",
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="image tokens",
                    ),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="max_output_tokens",
                    field=models.PositiveIntegerField(
                        blank=True,
                        help_text="Tokens; empty: unknown.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="max output tokens",
                    ),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="model",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="offers",
                        to="catalog.model",
                        verbose_name="model",
                    ),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="priority",
                    field=models.IntegerField(
                        default=100, help_text="The lowest number is tried first.", verbose_name="priority"
                    ),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="provider",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="offers",
                        to="catalog.provider",
                        verbose_name="provider",
                    ),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="quality",
                    field=models.SmallIntegerField(
                        blank=True,
                        help_text="0 to 1000; empty: not judged.",
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(1000),
                        ],
                        verbose_name="quality",
                    ),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="status",
                    field=models.CharField(
                        choices=[("active", "active"), ("disabled", "disabled")],
                        default="active",
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="task_quality",
                    field=models.JSONField(
                        blank=True,
                        default=dict,
                        help_text='Where a class of tasks is judged apart, from 0 to 1000: {"code": 900}.',
                        validators=[apps.catalog.models.check_task_quality],
                        verbose_name="task quality",
                    ),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="tokenizer",
                    field=models.CharField(
                        choices=[("o200k_base", "O200K Base"), ("cl100k_base", "Cl100K Base"), ("unknown", "unknown")],
                        default="unknown",
                        max_length=20,
                        verbose_name="tokenizer",
                    ),
                ),
                migrations.AlterField(
                    model_name="modeloffer",
                    name="upstream_model",
                    field=models.CharField(max_length=200, verbose_name="upstream model"),
                ),
                migrations.AlterField(
                    model_name="priceimport",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="priceimport",
                    name="created_by",
                    field=models.CharField(max_length=100, verbose_name="created by"),
                ),
                migrations.AlterField(
                    model_name="priceimport",
                    name="priced_models",
                    field=models.JSONField(
                        help_text="Priced models in the source for each of its providers.", verbose_name="priced models"
                    ),
                ),
                migrations.AlterField(
                    model_name="priceimport",
                    name="proposals_made",
                    field=models.PositiveIntegerField(default=0, verbose_name="proposals made"),
                ),
                migrations.AlterField(
                    model_name="priceimport",
                    name="reason",
                    field=models.TextField(blank=True, verbose_name="reason"),
                ),
                migrations.AlterField(
                    model_name="priceimport",
                    name="source",
                    field=models.CharField(max_length=100, verbose_name="source"),
                ),
                migrations.AlterField(
                    model_name="priceimport",
                    name="source_version",
                    field=models.CharField(max_length=40, verbose_name="source version"),
                ),
                migrations.AlterField(
                    model_name="priceimport",
                    name="state",
                    field=models.CharField(
                        choices=[("accepted", "accepted"), ("refused", "refused")], max_length=10, verbose_name="state"
                    ),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="created_by",
                    field=models.CharField(max_length=100, verbose_name="created by"),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="current",
                    field=models.JSONField(blank=True, null=True, verbose_name="current"),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="decided_at",
                    field=models.DateTimeField(blank=True, null=True, verbose_name="decided at"),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="decided_by",
                    field=models.CharField(blank=True, max_length=100, verbose_name="decided by"),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="notes",
                    field=django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), blank=True, default=list, size=None, verbose_name="notes"
                    ),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="offer",
                    field=models.ForeignKey(
                        blank=True,
                        help_text="Empty: not offered yet; approval makes a disabled offer to be reviewed.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="proposals",
                        to="catalog.modeloffer",
                        verbose_name="offer",
                    ),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="price_version",
                    field=models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="proposal",
                        to="catalog.priceversion",
                        verbose_name="price version",
                    ),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="proposed",
                    field=models.JSONField(verbose_name="proposed"),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="provider",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="proposals",
                        to="catalog.provider",
                        verbose_name="provider",
                    ),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="reason",
                    field=models.TextField(blank=True, verbose_name="reason"),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="source",
                    field=models.CharField(max_length=100, verbose_name="source"),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="state",
                    field=models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("approved", "approved"),
                            ("rejected", "rejected"),
                            ("superseded", "superseded"),
                        ],
                        default="pending",
                        max_length=10,
                        verbose_name="state",
                    ),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="upstream_model",
                    field=models.CharField(max_length=200, verbose_name="upstream model"),
                ),
                migrations.AlterField(
                    model_name="priceproposal",
                    name="valid_from",
                    field=models.DateTimeField(
                        blank=True, help_text="Empty: from the approval on.", null=True, verbose_name="valid from"
                    ),
                ),
                migrations.AlterField(
                    model_name="pricetier",
                    name="cache_read",
                    field=models.BigIntegerField(verbose_name="cache read"),
                ),
                migrations.AlterField(
                    model_name="pricetier",
                    name="cache_write",
                    field=models.BigIntegerField(verbose_name="cache write"),
                ),
                migrations.AlterField(
                    model_name="pricetier",
                    name="from_tokens",
                    field=models.PositiveIntegerField(verbose_name="from tokens"),
                ),
                migrations.AlterField(
                    model_name="pricetier",
                    name="input",
                    field=models.BigIntegerField(verbose_name="input"),
                ),
                migrations.AlterField(
                    model_name="pricetier",
                    name="output",
                    field=models.BigIntegerField(verbose_name="output"),
                ),
                migrations.AlterField(
                    model_name="pricetier",
                    name="version",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="tiers",
                        to="catalog.priceversion",
                        verbose_name="version",
                    ),
                ),
                migrations.AlterField(
                    model_name="priceversion",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="priceversion",
                    name="created_by",
                    field=models.CharField(max_length=100, verbose_name="created by"),
                ),
                migrations.AlterField(
                    model_name="priceversion",
                    name="discount_bps",
                    field=models.IntegerField(
                        db_default=0,
                        default=0,
                        help_text="What the provider takes off its list price for us, in basis points.",
                        verbose_name="discount bps",
                    ),
                ),
                migrations.AlterField(
                    model_name="priceversion",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="priceversion",
                    name="offer",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="price_versions",
                        to="catalog.modeloffer",
                        verbose_name="offer",
                    ),
                ),
                migrations.AlterField(
                    model_name="priceversion",
                    name="source",
                    field=models.CharField(max_length=100, verbose_name="source"),
                ),
                migrations.AlterField(
                    model_name="priceversion",
                    name="valid_from",
                    field=models.DateTimeField(verbose_name="valid from"),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="adapter",
                    field=models.CharField(
                        choices=[
                            ("openai_compatible", "OpenAI-compatible"),
                            ("anthropic", "Anthropic Messages"),
                            ("azure_openai", "Azure OpenAI"),
                            ("gemini", "Gemini"),
                        ],
                        max_length=40,
                        verbose_name="adapter",
                    ),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="base_url",
                    field=models.CharField(
                        help_text="Address before /chat/completions, version included.",
                        max_length=500,
                        verbose_name="base url",
                    ),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="byok_allowed",
                    field=models.BooleanField(
                        default=True,
                        help_text="The terms allow serving our users with keys of their own or of their developer.",
                        verbose_name="byok allowed",
                    ),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="changed_at",
                    field=models.DateTimeField(verbose_name="changed at"),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="changed_by",
                    field=models.CharField(max_length=100, verbose_name="changed by"),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="created_by",
                    field=models.CharField(max_length=100, verbose_name="created by"),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="id",
                    field=models.SlugField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="keeps_cache_control",
                    field=models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="An OpenAI-compatible provider that takes cache_control on the parts of a message.",
                        verbose_name="keeps cache control",
                    ),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="name",
                    field=models.CharField(max_length=100, verbose_name="name"),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="notes",
                    field=models.TextField(blank=True, verbose_name="notes"),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="notice",
                    field=models.CharField(
                        blank=True,
                        help_text="What its terms require to be shown to those it answers.",
                        max_length=500,
                        verbose_name="notice",
                    ),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="resale_allowed",
                    field=models.BooleanField(
                        help_text="The terms allow serving paying third parties with our key.",
                        verbose_name="resale allowed",
                    ),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="status",
                    field=models.CharField(
                        choices=[("active", "active"), ("disabled", "disabled")],
                        default="active",
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="terms_url",
                    field=models.URLField(blank=True, max_length=500, verbose_name="terms url"),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="trains_on_data",
                    field=models.BooleanField(
                        help_text="The provider may train on what is sent to it.", verbose_name="trains on data"
                    ),
                ),
                migrations.AlterField(
                    model_name="provider",
                    name="white_label_allowed",
                    field=models.BooleanField(
                        default=False,
                        help_text="The terms allow answers that do not name the provider.",
                        verbose_name="white label allowed",
                    ),
                ),
            ]
        )
    ]
