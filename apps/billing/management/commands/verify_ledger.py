from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from apps.billing.services import verify as billing
from apps.ledger.services import verify as ledger
from apps.usage.services import verify as usage


class Command(BaseCommand):
    help = "Derive every balance, hold, charge and lot again; name each row that differs and exit non-zero if any does."

    def handle(self, *args: Any, **options: Any) -> None:
        # One snapshot: what commits while we read does not look like a difference.
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            found = 0
            for difference in (*ledger.differences(), *usage.differences(), *billing.differences()):
                found += 1
                self.stdout.write(f"{difference.table} {difference.row_id}: {difference.message}")
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT (SELECT count(*) FROM ledger_transactions), (SELECT count(*) FROM ledger_entries),"
                    " (SELECT count(*) FROM holds), (SELECT count(*) FROM usage_charges)"
                )
                transactions, entries, holds, charges = cursor.fetchone()
        if found:
            raise CommandError(f"{found} rows differ")
        self.stdout.write(
            f"Ledger proven: {transactions} transactions, {entries} entries, {holds} holds, {charges} charges; "
            "no row differs."
        )
