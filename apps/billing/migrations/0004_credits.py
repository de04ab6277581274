import django.db.models.deletion
from django.db import migrations, models

from apps.core.migration_helpers import immutable_trigger

# Only what remains of a lot changes, and what a notice says stays.
FACTS = """
CREATE TRIGGER credit_lots_facts
    BEFORE UPDATE OF id, account_id, kind, amount_nano, balance_nano, expires_at, transaction_id, origin_account_id,
        reference, created_at
    OR DELETE ON credit_lots FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER promo_codes_facts
    BEFORE UPDATE OF id, code, amount_nano, audience, app_id, developer_id, credit_days, created_at, created_by
    OR DELETE ON promo_codes FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER billing_notices_append_only
    BEFORE UPDATE OR DELETE ON billing_notices FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
"""
NO_FACTS = """
DROP TRIGGER billing_notices_append_only ON billing_notices;
DROP TRIGGER promo_codes_facts ON promo_codes;
DROP TRIGGER credit_lots_facts ON credit_lots;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0003_disputes"),
    ]

    operations = [
        migrations.CreateModel(
            name="AppAllowance",
            fields=[
                ("app_id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="app")),
                ("monthly_nano", models.BigIntegerField(verbose_name="a month")),
                ("changed_at", models.DateTimeField(verbose_name="changed at")),
                ("changed_by", models.CharField(max_length=100, verbose_name="changed by")),
            ],
            options={
                "verbose_name": "app allowance",
                "verbose_name_plural": "app allowances",
                "db_table": "app_allowances",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("monthly_nano__gte", 0), ("monthly_nano__lte", 100000000000000000)),
                        name="app_allowances_monthly",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="CreditLot",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                ("account_id", models.BigIntegerField(verbose_name="account")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("allowance", "included allowance"),
                            ("promo", "promotion"),
                            ("grant", "grant"),
                            ("other", "other"),
                            ("paid", "paid"),
                        ],
                        max_length=12,
                        verbose_name="kind",
                    ),
                ),
                ("amount_nano", models.BigIntegerField(verbose_name="amount")),
                ("remaining_nano", models.BigIntegerField(verbose_name="remaining")),
                (
                    "balance_nano",
                    models.BigIntegerField(
                        help_text="What the wallet had with this lot, in nano-USD.", verbose_name="balance afterwards"
                    ),
                ),
                ("expires_at", models.DateTimeField(blank=True, null=True, verbose_name="expires at")),
                (
                    "transaction_id",
                    models.BigIntegerField(
                        blank=True,
                        help_text="What credited it; empty: found when lots were drawn.",
                        null=True,
                        verbose_name="transaction",
                    ),
                ),
                (
                    "origin_account_id",
                    models.BigIntegerField(
                        blank=True,
                        help_text="The account to which what expires goes back.",
                        null=True,
                        verbose_name="origin",
                    ),
                ),
                ("reference", models.CharField(blank=True, max_length=200, verbose_name="reference")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("closed_at", models.DateTimeField(blank=True, null=True, verbose_name="closed at")),
            ],
            options={
                "verbose_name": "credit lot",
                "verbose_name_plural": "credit lots",
                "db_table": "credit_lots",
                "indexes": [
                    models.Index(fields=["account_id", "id"], name="credit_lots_account"),
                    models.Index(
                        condition=models.Q(("closed_at__isnull", True)),
                        fields=["account_id"],
                        include=("remaining_nano",),
                        name="credit_lots_open",
                    ),
                    models.Index(
                        condition=models.Q(("closed_at__isnull", True), ("expires_at__isnull", False)),
                        fields=["expires_at"],
                        name="credit_lots_expiring",
                    ),
                    models.Index(
                        condition=models.Q(("reference", ""), _negated=True),
                        fields=["reference"],
                        name="credit_lots_reference",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["allowance", "promo", "grant", "other", "paid"])),
                        name="credit_lots_kind",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("amount_nano__gt", 0), ("amount_nano__lte", 100000000000000000)),
                        name="credit_lots_amount",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("remaining_nano__gte", 0), ("remaining_nano__lte", models.F("amount_nano"))
                        ),
                        name="credit_lots_remaining",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("closed_at__isnull", False), ("remaining_nano", 0)),
                            models.Q(("closed_at__isnull", True), ("remaining_nano__gt", 0)),
                            _connector="OR",
                        ),
                        name="credit_lots_closed",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("kind", "other"), ("transaction_id__isnull", False), _connector="OR"),
                        name="credit_lots_credited",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("transaction_id__isnull", False)),
                        fields=("transaction_id", "account_id"),
                        name="credit_lots_once",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Notice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("account_id", models.BigIntegerField(verbose_name="account")),
                ("kind", models.CharField(max_length=40, verbose_name="kind")),
                ("period_key", models.CharField(max_length=100, verbose_name="what for")),
                ("data", models.JSONField(default=dict, verbose_name="data")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
            ],
            options={
                "verbose_name": "notice",
                "verbose_name_plural": "notices",
                "db_table": "billing_notices",
                "indexes": [models.Index(fields=["account_id", "-id"], name="billing_notices_account")],
                "constraints": [
                    models.UniqueConstraint(fields=("account_id", "kind", "period_key"), name="billing_notices_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("kind", ""), _negated=True), models.Q(("period_key", ""), _negated=True)
                        ),
                        name="billing_notices_named",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PromoCode",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id")),
                ("code", models.CharField(max_length=40, unique=True, verbose_name="code")),
                ("amount_nano", models.BigIntegerField(verbose_name="amount")),
                (
                    "audience",
                    models.CharField(
                        choices=[("end_user", "end users"), ("developer", "developers")],
                        default="end_user",
                        max_length=10,
                        verbose_name="for",
                    ),
                ),
                (
                    "app_id",
                    models.CharField(
                        blank=True,
                        help_text="Only for end users of this app; empty: of any.",
                        max_length=40,
                        verbose_name="app",
                    ),
                ),
                (
                    "developer_id",
                    models.CharField(
                        blank=True,
                        help_text="Only for this developer, or end users of its apps.",
                        max_length=40,
                        verbose_name="developer",
                    ),
                ),
                ("max_redemptions", models.IntegerField(blank=True, null=True, verbose_name="most redemptions")),
                ("redemptions", models.IntegerField(default=0, verbose_name="redemptions")),
                ("valid_from", models.DateTimeField(verbose_name="valid from")),
                ("valid_until", models.DateTimeField(blank=True, null=True, verbose_name="valid until")),
                (
                    "credit_days",
                    models.IntegerField(
                        blank=True,
                        help_text="How long the credit lasts; empty: for good.",
                        null=True,
                        verbose_name="days of the credit",
                    ),
                ),
                ("note", models.CharField(blank=True, max_length=300, verbose_name="note")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("created_by", models.CharField(max_length=100, verbose_name="created by")),
            ],
            options={
                "verbose_name": "promo code",
                "verbose_name_plural": "promo codes",
                "db_table": "promo_codes",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount_nano__gt", 0), ("amount_nano__lte", 100000000000000000)),
                        name="promo_codes_amount",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("audience__in", ["end_user", "developer"])), name="promo_codes_audience"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("redemptions__gte", 0),
                            models.Q(
                                ("max_redemptions__isnull", True),
                                models.Q(
                                    ("max_redemptions__gte", models.F("redemptions")), ("max_redemptions__gte", 1)
                                ),
                                _connector="OR",
                            ),
                        ),
                        name="promo_codes_redemptions",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("valid_until__isnull", True), ("valid_until__gt", models.F("valid_from")), _connector="OR"
                        ),
                        name="promo_codes_validity",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("credit_days__isnull", True),
                            models.Q(("credit_days__gte", 1), ("credit_days__lte", 3650)),
                            _connector="OR",
                        ),
                        name="promo_codes_credit_days",
                    ),
                    models.CheckConstraint(condition=models.Q(("code", ""), _negated=True), name="promo_codes_code"),
                ],
            },
        ),
        migrations.CreateModel(
            name="WalletLimit",
            fields=[
                ("account_id", models.BigIntegerField(primary_key=True, serialize=False, verbose_name="account")),
                ("max_balance_nano", models.BigIntegerField(blank=True, null=True, verbose_name="maximum balance")),
                ("daily_spend_nano", models.BigIntegerField(blank=True, null=True, verbose_name="daily spend")),
                ("low_balance_nano", models.BigIntegerField(blank=True, null=True, verbose_name="low balance")),
                ("changed_at", models.DateTimeField(verbose_name="changed at")),
                ("changed_by", models.CharField(max_length=100, verbose_name="changed by")),
            ],
            options={
                "verbose_name": "wallet limit",
                "verbose_name_plural": "wallet limits",
                "db_table": "wallet_limits",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("max_balance_nano__isnull", True),
                            models.Q(("max_balance_nano__gte", 0), ("max_balance_nano__lte", 100000000000000000)),
                            _connector="OR",
                        ),
                        name="wallet_limits_max_balance",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("daily_spend_nano__isnull", True),
                            models.Q(("daily_spend_nano__gte", 0), ("daily_spend_nano__lte", 100000000000000000)),
                            _connector="OR",
                        ),
                        name="wallet_limits_daily_spend",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("low_balance_nano__isnull", True),
                            models.Q(("low_balance_nano__gte", 0), ("low_balance_nano__lte", 100000000000000000)),
                            _connector="OR",
                        ),
                        name="wallet_limits_low_balance",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="LotDraw",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("amount_nano", models.BigIntegerField(verbose_name="amount")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("spent", "spent"),
                            ("expired", "expired"),
                            ("refunded", "refunded"),
                            ("disputed", "disputed"),
                            ("restored", "restored"),
                        ],
                        max_length=12,
                        verbose_name="kind",
                    ),
                ),
                (
                    "transaction_id",
                    models.BigIntegerField(
                        blank=True,
                        help_text="What took it; empty for what was spent.",
                        null=True,
                        verbose_name="transaction",
                    ),
                ),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                (
                    "lot",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="draws",
                        to="billing.creditlot",
                        verbose_name="lot",
                    ),
                ),
            ],
            options={
                "verbose_name": "lot draw",
                "verbose_name_plural": "lot draws",
                "db_table": "lot_draws",
                "indexes": [
                    models.Index(
                        condition=models.Q(("transaction_id__isnull", False)),
                        fields=["transaction_id"],
                        name="lot_draws_transaction",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["spent", "expired", "refunded", "disputed", "restored"])),
                        name="lot_draws_kind",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("amount_nano__gt", 0),
                                ("amount_nano__lte", 100000000000000000),
                                models.Q(("kind", "restored"), _negated=True),
                            ),
                            models.Q(
                                ("amount_nano__gte", -100000000000000000), ("amount_nano__lt", 0), ("kind", "restored")
                            ),
                            _connector="OR",
                        ),
                        name="lot_draws_amount",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("kind", "spent"), ("transaction_id__isnull", False), _connector="OR"),
                        name="lot_draws_cause",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PromoRedemption",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("account_id", models.BigIntegerField(verbose_name="account")),
                ("lot_id", models.CharField(max_length=40, unique=True, verbose_name="lot")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                (
                    "promo_code",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="redeemed",
                        to="billing.promocode",
                        verbose_name="promo code",
                    ),
                ),
            ],
            options={
                "verbose_name": "promo redemption",
                "verbose_name_plural": "promo redemptions",
                "db_table": "promo_redemptions",
                "indexes": [models.Index(fields=["account_id"], name="promo_redemptions_account")],
                "constraints": [
                    models.UniqueConstraint(fields=("promo_code", "account_id"), name="promo_redemptions_once")
                ],
            },
        ),
        immutable_trigger("lot_draws"),
        immutable_trigger("promo_redemptions"),
        migrations.RunSQL(FACTS, NO_FACTS),
    ]
