from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("usage", "0017_events_by_time")]
    operations = [
        migrations.AddIndex(
            model_name="usageevent",
            index=models.Index(
                condition=models.Q(("rating_error__isnull", False)), fields=["id"], name="usage_events_set_aside"
            ),
        ),
        migrations.AddIndex(
            model_name="alert",
            index=models.Index(
                condition=models.Q(("delivered_at", None), ("next_attempt_at", None)),
                fields=["id"],
                name="alerts_given_up",
            ),
        ),
        migrations.AddIndex(
            model_name="alert",
            index=models.Index(
                condition=models.Q(("developer_id", None)), fields=["-id"], name="alerts_of_the_operator"
            ),
        ),
    ]
