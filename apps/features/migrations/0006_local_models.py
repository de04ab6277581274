from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

from apps.core.migration_helpers import forget_trigger

HERE = Path(__file__).parent


class Migration(migrations.Migration):
    dependencies = [
        ("features", "0005_page_links"),
    ]

    operations = [
        migrations.CreateModel(
            name="Bridge",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                ("token_hash", models.CharField(max_length=64, unique=True, verbose_name="hash of the token")),
                (
                    "name",
                    models.CharField(
                        blank=True, help_text="Empty where its end user left.", max_length=200, verbose_name="name"
                    ),
                ),
                ("revoked_at", models.DateTimeField(blank=True, null=True, verbose_name="revoked at")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                (
                    "app",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.app",
                        verbose_name="app",
                    ),
                ),
                (
                    "end_user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.enduser",
                        verbose_name="end user",
                    ),
                ),
            ],
            options={
                "verbose_name": "bridge",
                "verbose_name_plural": "bridges",
                "db_table": "bridges",
            },
        ),
        migrations.CreateModel(
            name="LocalEndpoint",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                ("name", models.CharField(max_length=200, verbose_name="name")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("ollama", "Ollama"),
                            ("vllm", "vLLM"),
                            ("lm_studio", "LM Studio"),
                            ("llama_cpp", "llama.cpp"),
                            ("openai_compatible", "OpenAI-compatible"),
                        ],
                        max_length=20,
                        verbose_name="kind",
                    ),
                ),
                ("base_url", models.CharField(max_length=500, verbose_name="base URL")),
                (
                    "served_models",
                    models.JSONField(
                        default=list, help_text="[{id, context_window?, capabilities?}]", verbose_name="models"
                    ),
                ),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("changed_at", models.DateTimeField(verbose_name="changed at")),
                (
                    "app",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.app",
                        verbose_name="app",
                    ),
                ),
                (
                    "bridge",
                    models.ForeignKey(
                        blank=True,
                        help_text="The bridge that reaches it.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.bridge",
                        verbose_name="bridge",
                    ),
                ),
                (
                    "end_user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="features.enduser",
                        verbose_name="end user",
                    ),
                ),
            ],
            options={
                "verbose_name": "local endpoint",
                "verbose_name_plural": "local endpoints",
                "db_table": "local_endpoints",
            },
        ),
        migrations.CreateModel(
            name="BridgeConnection",
            fields=[
                (
                    "bridge",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="connection",
                        serialize=False,
                        to="features.bridge",
                        verbose_name="bridge",
                    ),
                ),
                ("connection_id", models.CharField(max_length=40, unique=True, verbose_name="connection")),
                ("channel", models.CharField(max_length=200, verbose_name="channel")),
                (
                    "version",
                    models.CharField(
                        blank=True, help_text="Of the program, as it says.", max_length=40, verbose_name="version"
                    ),
                ),
                (
                    "served_models",
                    models.JSONField(
                        default=list, help_text="[{id, context_window?, capabilities?}]", verbose_name="models"
                    ),
                ),
                ("max_concurrency", models.IntegerField(default=1, verbose_name="calls at once")),
                ("connected_at", models.DateTimeField(verbose_name="connected at")),
                ("seen_at", models.DateTimeField(verbose_name="last seen at")),
                ("closed_at", models.DateTimeField(blank=True, null=True, verbose_name="closed at")),
            ],
            options={
                "verbose_name": "connection of a bridge",
                "verbose_name_plural": "connections of bridges",
                "db_table": "bridge_connections",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("max_concurrency__gte", 1)), name="bridge_connections_concurrency"
                    )
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="bridge",
            constraint=models.UniqueConstraint(fields=("end_user", "id"), name="bridges_end_user_id"),
        ),
        migrations.AddConstraint(
            model_name="localendpoint",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["ollama", "vllm", "lm_studio", "llama_cpp", "openai_compatible"])),
                name="local_endpoints_kind",
            ),
        ),
        migrations.RunSQL(
            (HERE / "0006_local_models.sql").read_text(), (HERE / "0006_local_models.reverse.sql").read_text()
        ),
        forget_trigger("bridges", "UPDATE OF revoked_at OR DELETE", kind="bridge", column="id"),
    ]
