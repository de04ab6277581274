import django.contrib.postgres.fields
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("features", "0003_forget_single_callers")]

    operations = [
        migrations.CreateModel(
            name="Entitlement",
            fields=[
                (
                    "developer_id",
                    models.CharField(
                        help_text="Empty: all others.",
                        max_length=40,
                        primary_key=True,
                        serialize=False,
                        verbose_name="developer",
                    ),
                ),
                ("plan", models.CharField(max_length=40, verbose_name="plan")),
                ("upgrade", models.CharField(blank=True, max_length=40, verbose_name="next plan")),
                ("tokens_per_month", models.BigIntegerField(null=True, verbose_name="tokens per month")),
                ("max_virtual_keys", models.IntegerField(null=True, verbose_name="virtual keys")),
                ("retention_days", models.IntegerField(null=True, verbose_name="retention in days")),
                (
                    "gates",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=40),
                        default=list,
                        size=None,
                        verbose_name="features included",
                    ),
                ),
                (
                    "spent_tokens",
                    models.BigIntegerField(
                        help_text="When the limit was found reached.", null=True, verbose_name="tokens spent"
                    ),
                ),
                (
                    "spent_until",
                    models.DateTimeField(
                        help_text="Calls are refused until then.", null=True, verbose_name="refused until"
                    ),
                ),
                ("changed_at", models.DateTimeField(verbose_name="changed at")),
            ],
            options={
                "verbose_name": "entitlement",
                "verbose_name_plural": "entitlements",
                "db_table": "developer_entitlements",
                "constraints": [
                    models.CheckConstraint(
                        condition=(Q(tokens_per_month=None) | Q(tokens_per_month__gte=0))
                        & (Q(max_virtual_keys=None) | Q(max_virtual_keys__gte=0))
                        & (Q(retention_days=None) | Q(retention_days__gte=1)),
                        name="developer_entitlements_limits",
                    ),
                    models.CheckConstraint(
                        condition=Q(spent_tokens=None, spent_until=None)
                        | Q(spent_tokens__isnull=False, spent_until__isnull=False, tokens_per_month__isnull=False),
                        name="developer_entitlements_spent",
                    ),
                ],
            },
        ),
    ]
