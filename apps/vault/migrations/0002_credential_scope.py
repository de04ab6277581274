import django.contrib.postgres.fields
from django.db import migrations, models

from apps.core.migration_helpers import epoch_trigger

_BEFORE = "INSERT OR DELETE OR UPDATE OF status, secret, base_url, models_allowed, weight, priority"
# Not last_used_at: it moves with traffic.
_NOW = f"{_BEFORE}, apps_allowed, features_allowed"


def _drop(events: str) -> migrations.RunSQL:
    """Return the operation that takes the trigger away, and puts it back in reverse."""
    made = epoch_trigger("provider_credentials", events)
    return migrations.RunSQL(made.reverse_sql, made.sql)


class Migration(migrations.Migration):
    """Let a credential be for some apps or features only."""

    dependencies = [("vault", "0001_vault")]

    operations = [
        migrations.AddField(
            model_name="providercredential",
            name="apps_allowed",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=40),
                blank=True,
                default=list,
                help_text="Ids of apps. Empty allows all.",
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="providercredential",
            name="features_allowed",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=64),
                blank=True,
                default=list,
                help_text="Keys of features. Empty allows all.",
                size=None,
            ),
        ),
        _drop(_BEFORE),
        epoch_trigger("provider_credentials", _NOW),
    ]
