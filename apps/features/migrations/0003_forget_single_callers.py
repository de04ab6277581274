from django.db import migrations

from apps.core.migration_helpers import epoch_trigger, forget_trigger

# What is taken away from one caller is its own affair: end users may revoke sessions as often as they like, and that
# must not make every gateway load everything again.
_WATCHED = (
    ("end_users", "UPDATE OF status OR DELETE", "end_user"),
    ("virtual_sessions", "UPDATE OF revoked_at, expires_at OR DELETE", "session"),
    ("virtual_keys", "UPDATE OF revoked_at, expires_at OR DELETE", "virtual_key"),
)


def _without_epoch_trigger(table: str, events: str) -> migrations.RunSQL:
    trigger = epoch_trigger(table, events)
    return migrations.RunSQL(trigger.reverse_sql, trigger.sql)


class Migration(migrations.Migration):
    dependencies = [("core", "0002_forgotten_callers"), ("features", "0002_feature_manifests")]

    operations = [
        operation
        for table, events, kind in _WATCHED
        for operation in (
            _without_epoch_trigger(table, events),
            forget_trigger(table, events, kind=kind, column="id"),
        )
    ]
