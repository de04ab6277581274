from typing import Any

from django.core.management.base import BaseCommand, CommandError

from modelfaucet import env
from modelfaucet.demo import smoke


class Command(BaseCommand):
    help = "Walk through the whole loop without a person, on a demo of its own under VAR_DIR/smoke."

    def handle(self, *args: Any, **options: Any) -> None:
        if not env.EMBEDDED:
            raise CommandError("This makes demo data, so it runs in the embedded profile only. Set PROFILE=embedded.")
        try:
            smoke.run(say=self.stdout.write)
        except smoke.SmokeFailed as problem:
            raise CommandError(f"✗ {problem}") from problem
