import django.contrib.postgres.fields
import django.core.validators
from django.db import migrations, models

import apps.catalog.models

# Django has no expression for a path in a JSON value.
TASK_QUALITY = """
ALTER TABLE model_offers ADD CONSTRAINT model_offers_task_quality CHECK (
    jsonb_typeof(task_quality) = 'object'
    AND NOT jsonb_path_exists(task_quality, '$.* ? (@.type() <> "number" || @ < 0 || @ > 1000)')
)
"""


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0001_catalog"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="provider",
            name="providers_adapter",
        ),
        migrations.AddField(
            model_name="modeloffer",
            name="image_tokens",
            field=models.PositiveIntegerField(
                default=1600,
                help_text="The most tokens that the provider counts for one image.",
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="modeloffer",
            name="task_quality",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text='Where a class of tasks is judged apart, from 0 to 1000: {"code": 900}.',
                validators=[apps.catalog.models.check_task_quality],
            ),
        ),
        migrations.AddField(
            model_name="provider",
            name="byok_allowed",
            field=models.BooleanField(
                default=True,
                help_text="The terms allow serving our users with keys of their own or of their developer.",
            ),
        ),
        migrations.AddField(
            model_name="provider",
            name="notice",
            field=models.CharField(
                blank=True, help_text="What its terms require to be shown to those it answers.", max_length=500
            ),
        ),
        migrations.AddField(
            model_name="provider",
            name="white_label_allowed",
            field=models.BooleanField(
                default=False, help_text="The terms allow answers that do not name the provider."
            ),
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
            ),
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
            ),
        ),
        migrations.AddConstraint(
            model_name="modeloffer",
            constraint=models.CheckConstraint(
                condition=models.Q(("image_tokens__gt", 0)), name="model_offers_image_tokens"
            ),
        ),
        migrations.AddConstraint(
            model_name="provider",
            constraint=models.CheckConstraint(
                condition=models.Q(("adapter__in", ["openai_compatible", "anthropic", "azure_openai", "gemini"])),
                name="providers_adapter",
            ),
        ),
        migrations.RunSQL(TASK_QUALITY, "ALTER TABLE model_offers DROP CONSTRAINT model_offers_task_quality"),
    ]
