from django.db import migrations, models

from apps.core.migration_helpers import epoch_trigger

SCOPES = ["platform", "developer", "app", "feature", "end_user", "key", "credential", "session", "ip"]


class Migration(migrations.Migration):
    dependencies = [("usage", "0003_key_calls"), ("core", "0001_policy_epoch")]
    operations = [
        migrations.CreateModel(
            name="LimitRule",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                (
                    "scope",
                    models.CharField(
                        choices=[
                            ("platform", "platform"),
                            ("developer", "developer"),
                            ("app", "app"),
                            ("feature", "feature"),
                            ("end_user", "end user"),
                            ("key", "virtual key"),
                            ("credential", "provider credential"),
                            ("session", "session"),
                            ("ip", "address"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "scope_id",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Whom the rule names; empty: each one of this scope that no rule names.",
                        max_length=128,
                    ),
                ),
                (
                    "rpm",
                    models.IntegerField(blank=True, help_text="Calls in 60 seconds.", null=True, verbose_name="RPM"),
                ),
                (
                    "tpm",
                    models.BigIntegerField(
                        blank=True,
                        help_text="Accounted tokens in 60 seconds; the next call after them is refused.",
                        null=True,
                        verbose_name="TPM",
                    ),
                ),
                (
                    "concurrency",
                    models.IntegerField(blank=True, help_text="Calls at the same time.", null=True),
                ),
                ("enabled", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField()),
                ("created_by", models.CharField(max_length=64)),
                ("changed_at", models.DateTimeField()),
                ("changed_by", models.CharField(max_length=64)),
            ],
            options={"db_table": "limit_rules"},
        ),
        migrations.AddConstraint(
            model_name="limitrule",
            constraint=models.UniqueConstraint(fields=("scope", "scope_id"), name="limit_rules_one_per_scope"),
        ),
        migrations.AddConstraint(
            model_name="limitrule",
            constraint=models.CheckConstraint(
                condition=models.Q(("scope__in", SCOPES)),
                name="limit_rules_scope_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="limitrule",
            constraint=models.CheckConstraint(
                condition=models.Q(("scope", "platform"), _negated=True) | models.Q(("scope_id", "")),
                name="limit_rules_one_platform",
            ),
        ),
        migrations.AddConstraint(
            model_name="limitrule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("rpm__isnull", False), ("tpm__isnull", False), ("concurrency__isnull", False), _connector="OR"
                ),
                name="limit_rules_limit_something",
            ),
        ),
        migrations.AddConstraint(
            model_name="limitrule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("rpm", None), ("rpm__gt", 0), _connector="OR"),
                    models.Q(("tpm", None), ("tpm__gt", 0), _connector="OR"),
                    models.Q(("concurrency", None), ("concurrency__gt", 0), _connector="OR"),
                ),
                name="limit_rules_positive",
            ),
        ),
        epoch_trigger("limit_rules", "INSERT OR UPDATE OR DELETE"),
    ]
