import asyncio
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from apps.gateway.cache.stores import open_answers
from apps.usage.services.similar import clear_cached


class Command(BaseCommand):
    help = (
        "Forget the cached answers of an app, within a second in all processes. Without Redis the one web process "
        "forgets those of all apps."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--app", required=True, help="the app's id (app_…)")

    def handle(self, *args: Any, **options: Any) -> None:
        vectors = clear_cached(options["app"])
        answers = asyncio.run(_clear(options["app"]))
        self.stdout.write(f"Forgot {answers} answers in Redis and {vectors} prompts that were kept for comparison.")


async def _clear(app_id: str) -> int:
    store = open_answers(settings.REDIS_URL)
    await store.open()
    try:
        return await store.clear(app_id)
    finally:
        await store.close()
