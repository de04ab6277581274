from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.core import clock
from apps.vault import services


class Command(BaseCommand):
    help = (
        "Put every secret of the vault under the first key of FIELD_ENCRYPTION_KEYS. To rotate: put the new key "
        "first and keep the old one, restart, run this, then drop the old key. Exits 1 and names the rows that "
        "do not open under any key."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        unreadable = []
        for result in services.rewrap_all(now=clock.now(), actor="command:rotate_vault_keys"):
            self.stdout.write(f"{result.table}: {result.moved} moved, {result.current} already under the first key")
            unreadable += [f"{result.table} {row}" for row in result.unreadable]
        if unreadable:
            raise CommandError("These do not open with the configured keys: " + ", ".join(unreadable))
