"""Make and check our webhook endpoints at Stripe."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.billing.services import webhook_endpoints as service
from apps.core.errors import FaucetError

VARIABLES = {service.ACCOUNT: "STRIPE_WEBHOOK_SECRET", service.CONNECT: "STRIPE_CONNECT_WEBHOOK_SECRET"}


class Command(BaseCommand):
    help = "Make, check or list the webhook endpoints at Stripe."
    # It is run to get the secrets whose absence the checks would complain of.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=("create", "check", "list"))
        parser.add_argument("--url", default="", help="where Stripe reaches this instance; default: PUBLIC_BASE_URL")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._run(options["action"], (options["url"] or settings.PUBLIC_BASE_URL).rstrip("/"))
        except FaucetError as error:
            raise CommandError(error.message) from error

    def _run(self, action: str, base_url: str) -> None:
        if action == "list":
            for row in service.endpoints():
                events = f"{len(row.events)} types"
                self.stdout.write(
                    f"{row.id}  {row.kind or '-'}  {row.status}  {row.api_version or '-'}  {events}  {row.url}"
                )
            return
        if not base_url.startswith(("https://", "http://")):
            raise CommandError("Say where Stripe reaches this instance: set PUBLIC_BASE_URL, or give --url https://…")
        if action == "check":
            if told := service.problems(base_url):
                raise CommandError("\n".join(told))
            self.stdout.write("The endpoints at Stripe are as they should be.")
            return
        for made in service.make_endpoints(base_url):
            row = made.endpoint
            state = "made" if made.secret else "changed" if made.changed else "is there already"
            self.stdout.write(f"{row.kind}: {row.id} {state}, {len(row.events)} types, {row.url}")
            if made.secret:
                self.stdout.write("Set this now; it is not shown again:")
                self.stdout.write(f"{VARIABLES[row.kind]}={made.secret}")
