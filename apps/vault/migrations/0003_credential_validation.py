from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0002_terms_and_adapters"),
        ("vault", "0002_credential_scope"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="providercredential",
            name="provider_credentials_status",
        ),
        migrations.AddField(
            model_name="providercredential",
            name="failing_since",
            field=models.DateTimeField(
                blank=True, help_text="First of the calls in a row that the provider refused for this key.", null=True
            ),
        ),
        migrations.AddField(
            model_name="providercredential",
            name="validated_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
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
            ),
        ),
        migrations.AddField(
            model_name="providercredential",
            name="validation_ms",
            field=models.PositiveIntegerField(blank=True, help_text="Milliseconds the answer took.", null=True),
        ),
        migrations.AddField(
            model_name="providercredential",
            name="validation_status",
            field=models.PositiveSmallIntegerField(blank=True, help_text="The answer's HTTP status.", null=True),
        ),
        migrations.AlterField(
            model_name="providercredential",
            name="status",
            field=models.CharField(
                choices=[("active", "active"), ("disabled", "disabled"), ("deleted", "deleted")],
                default="active",
                max_length=16,
            ),
        ),
        migrations.AddIndex(
            model_name="providercredential",
            index=models.Index(
                models.OrderBy(models.F("validated_at"), nulls_first=True),
                condition=models.Q(("status", "active")),
                name="provider_credentials_validated",
            ),
        ),
        migrations.AddConstraint(
            model_name="providercredential",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["active", "disabled", "deleted"])),
                name="provider_credentials_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="providercredential",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "validation__in",
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
                name="provider_credentials_validation",
            ),
        ),
        migrations.AddConstraint(
            model_name="providercredential",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("validated_at", None), ("validation", "never")),
                    models.Q(
                        models.Q(("validation", "never"), _negated=True),
                        models.Q(("validated_at", None), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="provider_credentials_validated_at",
            ),
        ),
    ]
