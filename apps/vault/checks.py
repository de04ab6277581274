"""System checks of the vault. They read the database, so they run with `check --database default` and `migrate`."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.db import connections, models
from django.db.models import Count, F, Func, Value

from apps.vault.envelope import keyring
from apps.vault.fields import EncryptedField, sealed_columns


def keys_fit(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """vault.E002 and vault.W001: every secret is under a key that is configured, and under the first."""
    found: list[CheckMessage] = []
    for alias in databases or ():
        tables = connections[alias].introspection.table_names()
        for model, field in sealed_columns():
            if model._meta.db_table in tables:
                found += _table(model, field, alias)
    return found


def _table(model: type[models.Model], field: EncryptedField, alias: str) -> list[CheckMessage]:
    ring = keyring()
    key_id_of = Func(F(field.name), Value("."), Value(2), function="split_part", output_field=models.CharField())
    held = model._default_manager.using(alias).values_list(key_id_of).annotate(Count("pk")).order_by()
    messages: list[CheckMessage] = []
    for key_id, count in held:
        if not key_id or key_id == ring.current_key_id:  # an erased secret is under no key
            continue
        if ring.holds(key_id):
            messages.append(
                Warning(
                    f"{count} rows of {model._meta.db_table} are under the older key {key_id}.",
                    hint="Run manage.py rotate_vault_keys, then drop the old key from FIELD_ENCRYPTION_KEYS.",
                    id="vault.W001",
                )
            )
        else:
            messages.append(
                Error(
                    f"{count} rows of {model._meta.db_table} are under the key {key_id}, which is not configured.",
                    hint="Put that key back at the end of FIELD_ENCRYPTION_KEYS.",
                    id="vault.E002",
                )
            )
    return messages
