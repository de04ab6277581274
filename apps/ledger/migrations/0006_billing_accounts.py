from django.db import migrations, models

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
    ("tax", "Tax collected"),
    ("payout", "Payouts under way"),
    ("funding", "Outside world"),
]


class Migration(migrations.Migration):
    """Accounts for tax that is collected and for payouts that are under way."""

    dependencies = [("ledger", "0005_lock_holds")]
    operations = [
        migrations.RemoveConstraint(model_name="ledgeraccount", name="ledger_accounts_kind"),
        migrations.AlterField(
            model_name="ledgeraccount",
            name="kind",
            field=models.CharField(choices=KINDS, max_length=20, verbose_name="kind"),
        ),
        migrations.AddConstraint(
            model_name="ledgeraccount",
            constraint=models.CheckConstraint(
                condition=models.Q(kind__in=[kind for kind, _ in KINDS]), name="ledger_accounts_kind"
            ),
        ),
    ]
