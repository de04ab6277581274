from typing import Any

from django.core.management.base import BaseCommand

from apps.billing.services.plans import apply_plans, seed_plans
from apps.core.clock import now


class Command(BaseCommand):
    help = "Write the shipped plans that are not there yet, and put all plans in force."

    def handle(self, *args: Any, **options: Any) -> None:
        made = seed_plans(now=now(), actor="system:seed_plans")
        apply_plans(now=now())
        self.stdout.write(f"{len(made)} plans written: {', '.join(made)}." if made else "All plans are there.")
