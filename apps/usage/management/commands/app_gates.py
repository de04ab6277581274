"""Tell what an app lacks before strangers use it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.errors import NotFound
from apps.usage.app_gates import app_gates


class Command(BaseCommand):
    help = "Tell what an app lacks before strangers use it; exits with 1 where something is missing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("app_id")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            gates = app_gates(options["app_id"])
        except NotFound as error:
            raise CommandError(error.message) from error
        for gate in gates:
            self.stdout.write(f"{'ok     ' if gate.met else 'missing'}  {gate.key}: {gate.says}")
        if missing := [gate.key for gate in gates if not gate.met]:
            raise CommandError(f"missing: {', '.join(missing)}")
