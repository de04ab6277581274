from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    initial = True
    dependencies = [("ledger", "0006_billing_accounts")]
    operations = [
        migrations.CreateModel(
            name="StripeEvent",
            fields=[
                ("id", models.CharField(max_length=255, primary_key=True, serialize=False, verbose_name="event")),
                ("type", models.CharField(max_length=120, verbose_name="type")),
                ("object_id", models.CharField(blank=True, default="", max_length=255, verbose_name="object")),
                (
                    "stripe_account",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Empty: our own account.",
                        max_length=64,
                        verbose_name="connected account",
                    ),
                ),
                ("livemode", models.BooleanField(verbose_name="live")),
                ("payload", models.JSONField(verbose_name="payload")),
                (
                    "created_at",
                    models.DateTimeField(help_text="When it happened at Stripe.", verbose_name="created at"),
                ),
                ("received_at", models.DateTimeField(verbose_name="received at")),
                ("handled_at", models.DateTimeField(blank=True, null=True, verbose_name="handled at")),
                ("note", models.CharField(blank=True, default="", max_length=40, verbose_name="note")),
                ("attempts", models.IntegerField(default=0, verbose_name="attempts")),
                ("next_attempt_at", models.DateTimeField(blank=True, null=True, verbose_name="next attempt")),
                ("last_error", models.CharField(blank=True, default="", max_length=300, verbose_name="last error")),
                ("mirrored_at", models.DateTimeField(blank=True, null=True, verbose_name="mirrored at")),
                ("mirror_attempts", models.IntegerField(default=0, verbose_name="mirror attempts")),
                ("mirror_at", models.DateTimeField(blank=True, null=True, verbose_name="mirrored next")),
                ("mirror_error", models.CharField(blank=True, default="", max_length=300, verbose_name="mirror error")),
            ],
            options={
                "db_table": "stripe_events",
                "verbose_name": "Stripe event",
                "verbose_name_plural": "Stripe events",
                "indexes": [
                    models.Index(
                        condition=Q(next_attempt_at__isnull=False),
                        fields=["next_attempt_at"],
                        name="stripe_events_due",
                    ),
                    models.Index(
                        condition=Q(mirror_at__isnull=False), fields=["mirror_at"], name="stripe_events_mirror_due"
                    ),
                    models.Index(fields=["object_id"], name="stripe_events_object"),
                    models.Index(fields=["received_at"], name="stripe_events_received"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(handled_at__isnull=True) | Q(next_attempt_at__isnull=True),
                        name="stripe_events_handled",
                    ),
                    models.CheckConstraint(
                        condition=Q(mirrored_at__isnull=True) | Q(mirror_at__isnull=True),
                        name="stripe_events_mirrored",
                    ),
                    models.CheckConstraint(condition=~Q(id="") & ~Q(type=""), name="stripe_events_named"),
                    models.CheckConstraint(
                        condition=Q(attempts__gte=0, mirror_attempts__gte=0), name="stripe_events_attempts"
                    ),
                ],
            },
        ),
    ]
