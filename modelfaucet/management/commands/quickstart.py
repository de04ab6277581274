from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from modelfaucet import env
from modelfaucet.demo.launch import CannotLaunch, launch
from modelfaucet.demo.supervisor import ChildEnded


class Command(BaseCommand):
    help = "Run the demo: database, demo data, demo provider, server and sweeper, until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=env.HOST, help="address to listen on (default: HOST)")
        parser.add_argument("--port", type=int, default=env.PORT, help="port, 0 for a free one (default: PORT)")

    def handle(self, *args: Any, host: str, port: int, **options: Any) -> None:
        try:
            launch(host=host, port=port, say=self._say)
        except (CannotLaunch, ChildEnded, TimeoutError) as problem:
            raise CommandError(str(problem)) from problem

    def _say(self, text: str) -> None:
        try:
            self.stdout.write(text)
            self.stdout.flush()
        except OSError:
            pass  # the terminal is gone; SIGHUP follows
