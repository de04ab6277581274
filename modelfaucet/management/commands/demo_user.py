import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.clock import now
from apps.core.money import MoneyProblem, nano_from_usd
from modelfaucet.demo.seed import make_end_user


class Command(BaseCommand):
    help = "Make an end user of the demo app with exactly this balance; the last line is JSON with its session_token."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--usd", required=True, help="balance in USD, for example 0.25")

    def handle(self, *args: Any, usd: str, **options: Any) -> None:
        try:
            funds = nano_from_usd(usd)
        except MoneyProblem as problem:
            raise CommandError(str(problem)) from problem
        if funds < 0:
            raise CommandError("a balance is not negative")
        self.stdout.write(json.dumps(make_end_user(funds, now=now())))
