"""Count the daily totals anew."""

from typing import Any

from django.core.management.base import BaseCommand

from apps.usage.services.days import differences, rebuild_days


class Command(BaseCommand):
    help = "Count the daily totals of usage anew from the calls, and say what was different."

    def handle(self, *args: Any, **options: Any) -> None:
        found = [f"{each.table} {each.row_id}: {each.message}" for each in differences()]
        for line in found:
            self.stdout.write(line)
        self.stdout.write(f"{rebuild_days()} rows counted; {len(found)} differences before.")
