from argparse import ArgumentParser
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.billing.services.invoice_files import Columns
from apps.billing.services.provider_invoices import confirm_invoice, read_invoice, reconcile_provider
from apps.core.clock import now
from apps.core.errors import FaucetError

ACTOR = "command:import_provider_invoice"


class Command(BaseCommand):
    help = "Read a provider's bill from a CSV file and compare it with our cost by day and model."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--provider", required=True, help="Whose bill it is, by its id in the catalogue.")
        parser.add_argument("--day-column", default="", help="Heading of the day, where it is not found by itself.")
        parser.add_argument("--model-column", default="", help="Heading of the model.")
        parser.add_argument("--amount-column", default="", help="Heading of the amount in USD.")
        parser.add_argument("--tokens-column", action="append", default=[], help="Heading of tokens; may be repeated.")
        parser.add_argument("--date-format", default="", help="How days are written, such as %%d.%%m.%%Y.")
        parser.add_argument("--total", default="", help="What the bill says its total is, in USD.")
        parser.add_argument("--allow-repeats", action="store_true", help="Equal lines are several lines.")
        parser.add_argument("--draft", action="store_true", help="Only read it; confirm it in the admin.")

    def handle(self, *args: Any, **options: Any) -> None:
        columns = Columns(
            options["day_column"],
            options["model_column"],
            options["amount_column"],
            tuple(options["tokens_column"]),
            options["date_format"],
        )
        who: dict[str, Any] = {"now": now(), "actor": ACTOR}
        try:
            total = Decimal(options["total"]) if options["total"] else None
            with options["file"].open("rb") as file:
                invoice_id = read_invoice(
                    file,
                    provider=options["provider"],
                    file_name=options["file"].name,
                    columns=columns,
                    stated_total=total,
                    allow_repeats=options["allow_repeats"],
                    **who,
                )
            if options["draft"]:
                self.stdout.write(f"Read as the draft {invoice_id}.")
                return
            confirm_invoice(invoice_id, **who)
            run_id = reconcile_provider(invoice_id, **who)
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}") from error
        except InvalidOperation as error:
            raise CommandError("--total takes an amount such as 1234.56.") from error
        except FaucetError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"Imported as {invoice_id}, compared in {run_id}; its differences are in the admin.")
