from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0008_reconciliation")]
    operations = [
        migrations.CreateModel(
            name="PayoutStop",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("reason", models.CharField(max_length=500, verbose_name="reason")),
                ("stopped_at", models.DateTimeField(verbose_name="stopped at")),
                ("stopped_by", models.CharField(max_length=100, verbose_name="stopped by")),
            ],
            options={
                "verbose_name": "stop of all payouts",
                "verbose_name_plural": "stop of all payouts",
                "db_table": "payout_stops",
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="payout_stops_one_row"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("reason", ""), _negated=True), models.Q(("stopped_by", ""), _negated=True)
                        ),
                        name="payout_stops_said",
                    ),
                ],
            },
        ),
        migrations.AddIndex(
            model_name="topup",
            index=models.Index(condition=models.Q(("paid_at__isnull", False)), fields=["paid_at"], name="top_ups_paid"),
        ),
        migrations.AddIndex(model_name="refund", index=models.Index(fields=["created_at"], name="refunds_created")),
        migrations.AddIndex(
            model_name="payout",
            index=models.Index(condition=models.Q(("sent_at__isnull", False)), fields=["sent_at"], name="payouts_sent"),
        ),
        migrations.AddIndex(
            model_name="subscriptioninvoice",
            index=models.Index(
                condition=models.Q(("paid_at__isnull", False)),
                fields=["paid_at"],
                name="subscription_invoices_paid_at",
            ),
        ),
        migrations.AddIndex(
            model_name="dispute",
            index=models.Index(
                condition=models.Q(("status__in", ["inquiry", "open", "lost"])), fields=["id"], name="disputes_at_risk"
            ),
        ),
        migrations.AddIndex(
            model_name="stripeevent",
            index=models.Index(
                condition=models.Q(("handled_at", None), ("next_attempt_at", None)),
                fields=["id"],
                name="stripe_events_given_up",
            ),
        ),
    ]
