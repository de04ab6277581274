from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.catalog.services.imports import MIN_REMAINING_PERCENT, propose_from_genai_prices
from apps.core.clock import now
from apps.core.errors import FaucetError


class Command(BaseCommand):
    help = "Compare a price source with the catalogue and propose what is new or different; an operator approves."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--source", choices=["genai-prices"], default="genai-prices")
        parser.add_argument("--provider", action="append", help="Only this provider; may be given several times.")
        parser.add_argument("--offered-only", action="store_true", help="Leave out models that are not offered yet.")
        parser.add_argument(
            "--accept-shrink",
            action="store_true",
            help=f"Accept a source that lists less than {MIN_REMAINING_PERCENT} %% of what it listed before.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report = propose_from_genai_prices(
                now=now(),
                actor="command:import_prices",
                providers=options["provider"],
                offered_only=options["offered_only"],
                accept_shrink=options["accept_shrink"],
            )
        except FaucetError as error:
            raise CommandError(error.message) from error
        for line in report.not_representable:
            self.stdout.write(f"cannot be represented exactly: {line}")
        for line in report.not_in_source:
            self.stdout.write(f"not in the source, left as it is: {line}")
        self.stdout.write(
            f"genai-prices {report.source_version}: {len(report.proposed)} proposals to decide in the admin, "
            f"{report.unchanged} unchanged, {report.declined_before} declined before, {report.superseded} superseded"
        )
