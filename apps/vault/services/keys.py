"""The vault's own keys: every secret put under the first of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db import models, transaction

from apps.developers.services import audit
from apps.vault.envelope import VaultProblem, keyring
from apps.vault.fields import EncryptedField, sealed_columns
from apps.vault.second_factors import rewrap_data, sealed_factors

_BATCH = 100


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """What became of one table: rows moved to the first key, rows already there, rows that do not open."""

    table: str
    moved: int
    current: int
    unreadable: tuple[str, ...]


def rewrap_all(*, now: datetime, actor: str) -> Iterator[Rewrapped]:
    """Put every secret under the first key, in small transactions; yield one result per table.

    The secrets themselves do not change, so it runs beside live traffic, may be stopped and may be run again.
    Rows that do not open stay as they are and are named.
    """
    tables = dict.fromkeys(model for model, _ in sealed_columns())
    for result in (*map(_rewrap_table, tables), _rewrap_second_factors()):
        if result.moved:
            with transaction.atomic():
                audit.record(
                    "vault.rewrap",
                    "table",
                    result.table,
                    actor=actor,
                    now=now,
                    detail={"moved": result.moved, "key_id": keyring().current_key_id},
                )
        yield result


def _rewrap_second_factors() -> Rewrapped:
    moved, current, unreadable = 0, 0, []
    for pk in sealed_factors().values_list("pk", flat=True):
        with transaction.atomic():
            row = sealed_factors().select_for_update().filter(pk=pk).first()
            if row is None:
                continue
            try:
                changed = rewrap_data(row.data)
            except VaultProblem:
                unreadable.append(str(pk))
                continue
            if changed is None:
                current += 1
            else:
                row.data = changed
                row.save(update_fields=["data"])
                moved += 1
    return Rewrapped(sealed_factors().model._meta.db_table, moved, current, tuple(unreadable))


def _rewrap_table(model: type[models.Model]) -> Rewrapped:
    fields = [field for field in model._meta.fields if isinstance(field, EncryptedField)]
    moved, current, unreadable, last = 0, 0, [], ""
    while True:
        with transaction.atomic():
            batch = model._default_manager.select_for_update().filter(pk__gt=last).order_by("pk")[:_BATCH]
            rows = list(batch)
            for row in rows:
                try:
                    changed = [field.name for field in fields if field.rewrap(row)]
                except VaultProblem:
                    unreadable.append(str(row.pk))
                    continue
                if changed:
                    row.save(update_fields=changed)
                    moved += 1
                else:
                    current += 1
        if not rows:
            return Rewrapped(model._meta.db_table, moved, current, tuple(unreadable))
        last = rows[-1].pk
