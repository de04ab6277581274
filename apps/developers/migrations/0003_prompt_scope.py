import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("developers", "0002_provider_key_scopes"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="developertoken",
            name="developer_tokens_scopes",
        ),
        migrations.AlterField(
            model_name="developertoken",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    choices=[
                        ("usage:read", "read usage"),
                        ("revenue:read", "read revenue"),
                        ("apps:read", "read apps"),
                        ("apps:write", "change apps"),
                        ("keys:read", "read keys"),
                        ("keys:write", "change keys"),
                        ("tokens:write", "issue and revoke tokens"),
                        ("provider_keys:read", "read provider keys"),
                        ("provider_keys:write", "change provider keys"),
                        ("prompts:read", "read logged prompts"),
                    ],
                    max_length=20,
                ),
                size=None,
            ),
        ),
        migrations.AddConstraint(
            model_name="developertoken",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "scopes__contained_by",
                        [
                            "usage:read",
                            "revenue:read",
                            "apps:read",
                            "apps:write",
                            "keys:read",
                            "keys:write",
                            "tokens:write",
                            "provider_keys:read",
                            "provider_keys:write",
                            "prompts:read",
                        ],
                    ),
                    ("scopes__len__gte", 1),
                ),
                name="developer_tokens_scopes",
            ),
        ),
    ]
