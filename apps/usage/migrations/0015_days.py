from pathlib import Path

from django.db import migrations, models

BACKFILL = Path(__file__).with_suffix(".sql").read_text()


class Migration(migrations.Migration):
    dependencies = [("usage", "0014_budgets_of_end_users")]

    operations = [
        migrations.CreateModel(
            name="UsageDay",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField(verbose_name="day")),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                ("app_id", models.CharField(max_length=40, verbose_name="app")),
                ("feature_key", models.CharField(max_length=64, verbose_name="feature")),
                ("route_mode", models.CharField(max_length=16, verbose_name="route")),
                ("provider", models.CharField(max_length=64, verbose_name="provider")),
                ("served_model", models.CharField(max_length=200, verbose_name="model")),
                ("calls", models.BigIntegerField(verbose_name="calls")),
                ("failed", models.BigIntegerField(verbose_name="failed calls")),
                ("cached", models.BigIntegerField(verbose_name="answered from the cache")),
                (
                    "input_tokens",
                    models.BigIntegerField(
                        help_text="With those read from and written to caches.", verbose_name="input tokens"
                    ),
                ),
                ("output_tokens", models.BigIntegerField(verbose_name="output tokens")),
                ("price_nano", models.BigIntegerField(verbose_name="price")),
                ("cost_nano", models.BigIntegerField(verbose_name="cost")),
                ("developer_nano", models.BigIntegerField(verbose_name="developer's share")),
                ("platform_nano", models.BigIntegerField(verbose_name="platform's part")),
                ("loss_nano", models.BigIntegerField(verbose_name="loss")),
                ("provider_bill_nano", models.BigIntegerField(verbose_name="provider's bill to the key's owner")),
                ("duration_ms", models.BigIntegerField(verbose_name="duration of all calls, ms")),
                (
                    "first_byte_ms",
                    models.BigIntegerField(verbose_name="time to the first byte of all calls that had one, ms"),
                ),
                ("first_bytes", models.BigIntegerField(verbose_name="calls with a first byte")),
            ],
            options={
                "verbose_name": "day of usage",
                "verbose_name_plural": "days of usage",
                "db_table": "usage_days",
                "indexes": [
                    models.Index(fields=["app_id", "day"], name="usage_days_app"),
                    models.Index(fields=["day"], name="usage_days_day"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=(
                            "developer_id",
                            "day",
                            "app_id",
                            "feature_key",
                            "route_mode",
                            "provider",
                            "served_model",
                        ),
                        name="usage_days_one",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("cached__gte", 0), ("calls__gt", 0), ("failed__gte", 0)),
                        name="usage_days_calls",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="UserDay",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField(verbose_name="day")),
                ("app_id", models.CharField(max_length=40, verbose_name="app")),
                ("end_user_id", models.CharField(max_length=40, verbose_name="end user")),
                ("developer_id", models.CharField(max_length=40, verbose_name="developer")),
                ("calls", models.BigIntegerField(verbose_name="calls")),
                ("tokens", models.BigIntegerField(verbose_name="tokens")),
                ("price_nano", models.BigIntegerField(verbose_name="price")),
                ("developer_nano", models.BigIntegerField(verbose_name="developer's share")),
            ],
            options={
                "verbose_name": "end user's day",
                "verbose_name_plural": "end users' days",
                "db_table": "usage_user_days",
                "indexes": [
                    models.Index(fields=["app_id", "day"], name="usage_user_days_app"),
                    models.Index(fields=["developer_id", "day"], name="usage_user_days_developer"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("end_user_id", "day"), name="usage_user_days_one"),
                    models.CheckConstraint(condition=models.Q(("calls__gt", 0)), name="usage_user_days_calls"),
                ],
            },
        ),
        migrations.RunSQL(BACKFILL, migrations.RunSQL.noop),
    ]
