from argparse import ArgumentParser, BooleanOptionalAction
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.catalog.presets import PRESETS
from apps.catalog.services.presets import add_preset
from apps.core.clock import now
from apps.core.errors import FaucetError


class Command(BaseCommand):
    help = "Add a provider that is known by name, with its address, adapter and terms; --list names them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("preset", nargs="?", choices=list(PRESETS), metavar="PRESET")
        parser.add_argument("--list", action="store_true", help="List the presets and add nothing.")
        parser.add_argument("--id", default="", help="The provider's id, to have a preset twice.")
        parser.add_argument("--name", default="", help="The name that is shown.")
        parser.add_argument("--base-url", default="", help="The address, where it is not the preset's.")
        parser.add_argument(
            "--resale-allowed",
            action=BooleanOptionalAction,
            help="What the terms say of serving paying third parties with our key, once you have read them.",
        )
        parser.add_argument(
            "--trains-on-data", action=BooleanOptionalAction, help="What the terms of your account say of training."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["list"]:
            for preset in PRESETS.values():
                self.stdout.write(f"{preset.id:20} {preset.adapter:18} {preset.base_url}")
            return
        if options["preset"] is None:
            raise CommandError("Name a preset, or --list.")
        try:
            added = add_preset(
                options["preset"],
                provider_id=options["id"],
                name=options["name"],
                base_url=options["base_url"],
                resale_allowed=options["resale_allowed"],
                trains_on_data=options["trains_on_data"],
                now=now(),
                actor="command:add_provider",
            )
        except FaucetError as error:
            raise CommandError(error.message) from error
        preset = PRESETS[options["preset"]]
        self.stdout.write(f"Added the provider {added}. Next: a credential and offers with prices, in the admin.")
        for note in (preset.notes, preset.terms_url and f"Its terms: {preset.terms_url}"):
            if note:
                self.stdout.write(note)
