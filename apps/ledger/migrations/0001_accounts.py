import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q

from apps.core.migration_helpers import immutable_trigger
from apps.ledger.migrations._sql import sibling_sql

KINDS = [
    ("end_user", "End user"),
    ("developer_credit", "Developer's prepaid credit"),
    ("app_allowance", "App's free allowance"),
    ("developer", "Developer's revenue"),
    ("provider_cost", "Owed to a provider"),
    ("platform", "Platform"),
    ("platform_loss", "Platform's losses"),
    ("infra_cost", "Infrastructure cost"),
    ("payment_cost", "Payment cost"),
    ("funding", "Outside world"),
]


class Migration(migrations.Migration):
    initial = True
    dependencies = [("core", "0001_policy_epoch")]
    operations = [
        migrations.CreateModel(
            name="LedgerAccount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(choices=KINDS, max_length=20, verbose_name="kind")),
                ("owner_id", models.TextField(verbose_name="owner")),
                (
                    "currency",
                    models.CharField(db_default="USD", default="USD", max_length=3, verbose_name="currency"),
                ),
                ("created_at", models.DateTimeField(verbose_name="created at")),
            ],
            options={
                "db_table": "ledger_accounts",
                "verbose_name": "ledger account",
                "verbose_name_plural": "ledger accounts",
                "constraints": [
                    models.UniqueConstraint(
                        fields=["kind", "owner_id", "currency"], name="ledger_accounts_one_per_owner"
                    ),
                    models.CheckConstraint(
                        condition=Q(kind__in=[kind for kind, _ in KINDS]), name="ledger_accounts_kind"
                    ),
                    models.CheckConstraint(condition=~Q(owner_id=""), name="ledger_accounts_owner"),
                ],
                "indexes": [models.Index(fields=["owner_id"], name="ledger_accounts_owner_id")],
            },
        ),
        migrations.CreateModel(
            name="Wallet",
            fields=[
                (
                    "account",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="wallet",
                        serialize=False,
                        to="ledger.ledgeraccount",
                    ),
                ),
                ("posted", models.BigIntegerField(db_default=0, default=0, verbose_name="posted")),
                ("held", models.BigIntegerField(db_default=0, default=0, verbose_name="held")),
                ("overdraft", models.BigIntegerField(db_default=0, default=0, verbose_name="overdraft")),
                ("frozen_at", models.DateTimeField(blank=True, null=True, verbose_name="frozen at")),
            ],
            options={
                "db_table": "wallets",
                "verbose_name": "wallet",
                "verbose_name_plural": "wallets",
                "constraints": [
                    models.CheckConstraint(condition=Q(held__gte=0), name="wallets_held"),
                    models.CheckConstraint(
                        condition=Q(overdraft__gte=0, overdraft__lte=10**17), name="wallets_overdraft"
                    ),
                ],
            },
        ),
        immutable_trigger("ledger_accounts"),
        sibling_sql(__file__),
    ]
